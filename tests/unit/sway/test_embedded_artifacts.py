"""The artefact cache trusts only hashes. Maven Central is a fake here."""

import hashlib
import threading
from pathlib import Path

import pytest

from sway.embedded import registry_runtime, runtime
from sway.embedded.artifacts import Artifact, ArtifactCache, parse_lock
from sway.embedded.errors import ArtifactHashError, ArtifactLockError, ArtifactUnreachableError


def artifact(name: str) -> Artifact:
    """Return an artefact whose correct contents are its own name."""
    return Artifact("org.example", name, "jar", "", "1.0", hashlib.sha256(name.encode()).hexdigest())


A, B = artifact("a"), artifact("b")


class MavenCentral:
    """Serves each artefact with the locked contents, and records the requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        self.requests.append(artifact.name)
        folder.mkdir(parents=True)
        path = folder / "whatever.jar"
        path.write_bytes(self.contents(artifact))
        return path

    def contents(self, artifact: Artifact) -> bytes:
        return artifact.name.encode()


class TamperingMavenCentral(MavenCentral):
    """Serves contents that do not match the lock."""

    def contents(self, artifact: Artifact) -> bytes:
        return b"not " + artifact.name.encode()


class UnreachableMavenCentral(MavenCentral):
    """Cannot be reached."""

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        raise ArtifactUnreachableError("ConnectionError: name resolution failed")


class InterruptedMavenCentral(MavenCentral):
    """Is interrupted in the middle of a file, as by Ctrl-C."""

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        path = super().__call__(artifact, folder)
        path.write_bytes(b"half")
        raise KeyboardInterrupt


def test_each_artifact_is_fetched_once(tmp_path: Path) -> None:
    central = MavenCentral()
    cache = ArtifactCache(tmp_path / "cache", central)
    first = cache.paths([B, A])
    assert first == cache.paths([B, A])
    assert [path.read_bytes() for path in first] == [b"b", b"a"]
    assert central.requests == ["b", "a"]


def test_only_missing_or_damaged_artifacts_are_fetched(tmp_path: Path) -> None:
    central = MavenCentral()
    cache = ArtifactCache(tmp_path, central)
    cache.paths([A, B])
    (tmp_path / B.file_name).write_bytes(b"flipped")
    progress: list[tuple[int, int, str]] = []
    paths = cache.paths([A, B], lambda done, of, what: progress.append((done, of, what.name)))
    assert paths[1].read_bytes() == b"b"
    assert progress == [(0, 1, "b")]
    assert central.requests == ["a", "b", "b"]


def test_an_artifact_with_a_wrong_hash_is_refused_and_deleted(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, TamperingMavenCentral())
    with pytest.raises(ArtifactHashError) as raised:
        cache.paths([A])
    actual = hashlib.sha256(b"not a").hexdigest()
    for part in ("org.example:a:jar:1.0", actual, A.sha256, "SWAY_KAFKA__BOOTSTRAP_SERVERS", str(tmp_path)):
        assert part in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_unreachable_maven_central_error_names_both_alternatives(tmp_path: Path) -> None:
    with pytest.raises(ArtifactUnreachableError) as raised:
        ArtifactCache(tmp_path, UnreachableMavenCentral()).paths([A])
    message = str(raised.value)
    assert "cannot download org.example:a:jar:1.0 from Maven Central" in message
    assert "name resolution failed" in message
    assert "SWAY_KAFKA__BOOTSTRAP_SERVERS" in message
    assert f"copy the folder {tmp_path}" in message


def test_a_full_cache_needs_no_download(tmp_path: Path) -> None:
    ArtifactCache(tmp_path, MavenCentral()).paths([A])
    assert ArtifactCache(tmp_path, UnreachableMavenCentral()).paths([A])[0].read_bytes() == b"a"


def test_an_interrupted_fetch_leaves_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ArtifactCache(tmp_path, InterruptedMavenCentral()).paths([A])
    assert not (tmp_path / A.file_name).exists()
    # A killed process does not clean up.
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "whatever.jar").write_bytes(b"half")
    assert ArtifactCache(tmp_path, MavenCentral()).paths([A])[0].read_bytes() == b"a"


def test_concurrent_fetches_download_once(tmp_path: Path) -> None:
    fetching, go_on = threading.Event(), threading.Event()

    class SlowMavenCentral(MavenCentral):
        def contents(self, artifact: Artifact) -> bytes:
            fetching.set()
            assert go_on.wait(10)
            return super().contents(artifact)

    slow, second = SlowMavenCentral(), MavenCentral()
    threads = [
        threading.Thread(target=ArtifactCache(tmp_path, central).paths, args=([A],))
        for central in (slow, second)
    ]
    threads[0].start()
    assert fetching.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert slow.requests == ["a"]
    assert second.requests == []


def test_a_lock_line_may_have_a_classifier() -> None:
    sha256 = "0" * 64
    plain, classified = parse_lock(f"# why\n\ng:n:jar:1 {sha256}\ng:n:tar.gz:all:2 {sha256}\n")
    assert (plain.file_name, plain.coordinates) == ("n-1.jar", "g:n:jar:1")
    assert (classified.file_name, classified.coordinates) == ("n-2-all.tar.gz", "g:n:tar.gz:all:2")


@pytest.mark.parametrize("line", ["g:n:1 " + "0" * 64, "g:n:jar:1", "g:n:jar:1 abc", "g:n:jar:1 " + "X" * 64])
def test_an_invalid_lock_line_is_named(line: str) -> None:
    with pytest.raises(ArtifactLockError, match="line 2 of the lock file"):
        parse_lock("# first\n" + line)


def test_the_kafka_lock_names_one_version_of_each_jar() -> None:
    artifacts = parse_lock(Path(runtime.__file__).with_name("kafka.lock").read_text("utf-8"))
    assert len({a.file_name for a in artifacts}) == len({(a.group, a.name) for a in artifacts}) == 46
    assert {a.version for a in artifacts if a.group == "org.apache.kafka"} == {runtime.KAFKA_VERSION}


def test_the_registry_lock_names_one_archive() -> None:
    (archive,) = parse_lock(Path(registry_runtime.__file__).with_name("registry.lock").read_text("utf-8"))
    assert archive.file_name == f"apicurio-registry-app-{registry_runtime.REGISTRY_VERSION}-all.tar.gz"
