"""The registry in an object store: a local S3 server, accessed through s3fs."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

from model.errors import ModelCorrupt, ModelMissing, PromotionConflict
from model.loading import joint
from model.manifest import Manifest
from model.registry import ModelRegistry
from model.removal import GRACE_S, Removal
from model.storage import Storage
from model.tokens import BehaviourTokenizer
from tests.support.tiny import publish_tiny

pytestmark = pytest.mark.faults

WRITERS = 8
CONFLICT = "ConditionalRequestConflict"
EXISTS = "PreconditionFailed"


class Faults:
    """Errors with which the server answers the next writes, in order."""

    def __init__(self) -> None:
        self.next: list[str] = []


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, faults: Faults) -> Iterator[str]:
    """The address of an empty bucket, with credentials in the environment."""
    lock = threading.Lock()
    put_object: Callable[[S3Response], Any] = S3Response.put_object

    def at_once(response: S3Response) -> Any:
        """Check and write atomically, as S3 does; this server would let another thread in between."""
        with lock:
            if faults.next:
                raise S3ClientError(faults.next.pop(0), "a fault of the test")
            return put_object(response)

    monkeypatch.setattr(S3Response, "put_object", at_once)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("models")
    try:
        yield "s3://models"
    finally:
        files.rm("models", recursive=True)
        type(files).clear_instance_cache()  # cached clients have the port of this server
        server.stop()
        if server._server is not None:
            server._server.server_close()


@pytest.fixture
def address(bucket: str) -> str:
    return f"{bucket}/registry"


def files(folder: Path, content: str) -> Path:
    """Write files in place of a checkpoint, for tests that do not load it; return the folder."""
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text(content)
    (folder / "deep" / "file.txt").write_text(content * 1_000)
    return folder


def manifest(version: str) -> Manifest:
    return Manifest(version, base="tiny", created_at_ms=0)


def publish(registry: ModelRegistry, folder: Path, *versions: str) -> None:
    for version in versions:
        registry.publish(files(folder / version, version), manifest(version))


def test_a_version_scores_as_it_does_from_a_local_disk(
    address: str, tmp_path: Path, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    texts = tokenizer.encode_texts([("watch alien liked", "watch brazil"), ("", "purchase 🎬")])
    scores = []
    for name, where in (("local", tmp_path / "registry"), ("s3", address)):
        registry = ModelRegistry(where)
        registry.promote(publish_tiny(registry, "v1", tiny_base, tmp_path / name, seed=5))
        model = joint(ModelRegistry(where).load(registry.champion() or "", dtype="fp32"))
        scores.append(model.score_texts(texts).numpy())
    local, remote = scores
    assert np.array_equal(local, remote)
    assert ModelRegistry(address).versions() == ["v1"]


def test_promotions_rollbacks_and_rejections_are_visible_to_all_clients(address: str, tmp_path: Path) -> None:
    registry, other = ModelRegistry(address), ModelRegistry(address)
    assert (registry.champion(), registry.versions()) == (None, [])
    publish(registry, tmp_path, "v1", "v2", "v3")
    assert registry.promote("v1", expected=None) == 1
    assert other.champion() == "v1"
    assert other.promote("v2", reason="better", expected="v1") == 2
    with pytest.raises(PromotionConflict, match="the champion is now v2, not v1"):
        registry.promote("v3", expected="v1")
    registry.reject("v3", "worse", {"auc": 0.4})
    other.reject("v3", "too late to be the reason")
    assert other.verdict("v3").reason == "worse"
    assert other.rollback(reason="v2 is bad") == "v1"
    assert [promotion.version for _, promotion in registry.history()] == ["v1", "v2", "v1"]
    with pytest.raises(ModelMissing, match="last versions are: v1, v2, v3"):
        registry.manifest("v4")


def test_concurrent_promotions_get_distinct_numbers(address: str, tmp_path: Path, faults: Faults) -> None:
    publish(ModelRegistry(address), tmp_path, "v1")
    ready = threading.Barrier(WRITERS)
    faults.next = [CONFLICT] * 3

    def promote(number: int) -> int:
        registry = ModelRegistry(address)
        ready.wait(30)
        return registry.promote("v1", reason=str(number))

    with ThreadPoolExecutor(WRITERS) as writers:
        numbers = list(writers.map(promote, range(WRITERS)))
    assert sorted(numbers) == list(range(1, WRITERS + 1))
    reasons = {number: promotion.reason for number, promotion in ModelRegistry(address).history()}
    assert reasons == {number: str(writer) for writer, number in enumerate(numbers)}


def test_files_created_by_another_process_are_visible(address: str) -> None:
    files = fsspec.filesystem("s3", skip_instance_cache=True)  # without this process's cached listing
    storage = Storage(address)
    storage.create("promotions/000001.json", b"first")
    assert storage.names("promotions") == ["000001.json"]
    files.pipe_file(f"{address}/promotions/000002.json", b"theirs")
    with pytest.raises(FileExistsError):
        storage.create("promotions/000002.json", b"ours")
    assert storage.read("promotions/000002.json") == b"theirs"


def test_one_of_several_writers_expecting_a_champion_promotes(address: str, tmp_path: Path) -> None:
    publish(ModelRegistry(address), tmp_path, "v1")
    ready = threading.Barrier(WRITERS)

    def promote(_: int) -> bool:
        registry = ModelRegistry(address)
        ready.wait(30)
        try:
            registry.promote("v1", expected=None)
        except PromotionConflict:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as writers:
        assert sum(writers.map(promote, range(WRITERS))) == 1
    assert ModelRegistry(address).promotions() == [1]


def test_pruning_removes_one_version_and_keeps_the_others(address: str, tmp_path: Path) -> None:
    registry, other = ModelRegistry(address), ModelRegistry(address)
    publish(registry, tmp_path, "v1", "v2", "v3")
    registry.attach("v1", files(tmp_path / "report", "report"))
    registry.promote("v2")
    registry.pin("v3")
    removal = Removal(registry, now_s=lambda: time.time() + 2 * GRACE_S)
    gone, _ = removal.prunable(1)
    assert gone == ["v1"]
    assert removal.size_bytes("v1") > 8_000
    removal.remove("v1")
    assert other.versions() == ["v2", "v3"]
    assert (removal.size_bytes("v1"), other.reports("v1")) == (0, [])
    Storage(address).put(tmp_path / "v1" / "config.json", "versions/half/0a1b/config.json")
    assert Removal(other).remove_incomplete() == 0  # a recent file may belong to a running publish
    assert removal.remove_incomplete() == 2
    assert Storage(address).names("versions") == ["v2", "v3"]
    other.fetch("v2", tmp_path / "copy")


def test_reports_are_stored_with_their_version(address: str, tmp_path: Path) -> None:
    registry = ModelRegistry(address)
    publish(registry, tmp_path, "v1")
    registry.attach("v1", files(tmp_path / "first", "first"))
    registry.attach("v1", files(tmp_path / "second", "second"))
    assert ModelRegistry(address).reports("v1") == ["report"]
    copy = registry.fetch_report("v1", tmp_path / "copy")
    assert (copy / "deep" / "file.txt").read_text() == "second" * 1_000
    with pytest.raises(ModelMissing, match="its reports are: report"):
        registry.fetch_report("v1", tmp_path / "none", "gate")


def test_an_interrupted_publish_is_invisible_and_can_be_repeated(
    address: str, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, folder = ModelRegistry(address), files(tmp_path / "v1", "v1")
    put = Storage.put
    done: list[str] = []

    def put_one(storage: Storage, source: Path, path: str) -> None:
        if done:
            raise KeyboardInterrupt
        put(storage, source, path)
        done.append(path)

    with monkeypatch.context() as cut:
        cut.setattr(Storage, "put", put_one)
        with pytest.raises(KeyboardInterrupt):
            registry.publish(folder, manifest("v1"))
    assert done
    assert Storage(address).read(done[0])  # the file exists, but belongs to no version
    assert not registry.exists("v1")
    assert registry.versions() == []
    with pytest.raises(ModelMissing):
        registry.promote("v1")

    assert registry.publish(folder, manifest("v1")) == "v1"
    assert registry.publish(folder, manifest("v1")) == "v1"
    assert (ModelRegistry(address).fetch("v1", tmp_path / "copy") / "config.json").read_text() == "v1"
    with pytest.raises(ModelCorrupt, match="other files"):
        registry.publish(files(tmp_path / "other", "other"), manifest("v1"))


def test_the_second_writer_of_a_file_is_refused(address: str, faults: Faults) -> None:
    storage = Storage(address)
    storage.create("promotions/000001.json", b"first")
    with pytest.raises(FileExistsError):
        storage.create("promotions/000001.json", b"second")
    assert Storage(address).read("promotions/000001.json") == b"first"
    faults.next = [EXISTS]  # the answer of stores that do not name the failed condition
    with pytest.raises(FileExistsError):
        storage.create("promotions/000002.json", b"second")


def test_conflicts_are_retried_and_other_errors_are_raised(address: str, faults: Faults) -> None:
    storage = Storage(address)
    faults.next = [CONFLICT, CONFLICT]
    storage.create("file", b"mine")
    assert (storage.read("file"), faults.next) == (b"mine", [])
    faults.next = ["AccessDenied"]
    with pytest.raises(PermissionError):
        storage.create("another", b"mine")
    assert not storage.exists("another")
