"""An archive is unpacked once, completely or not at all, and never outside its folder."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from sway.embedded.artifacts import Artifact, ArtifactCache
from sway.embedded.errors import ArtifactUnpackError, ArtifactUnreachableError
from sway.embedded.unpack import unpacked

INSTEAD = "use one of your own"


def archive_of(*names: str) -> bytes:
    """Return a tar.gz whose files contain their own names."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return made.getvalue()


class MavenCentral:
    """Serves one archive, and counts the requests."""

    def __init__(self, contents: bytes) -> None:
        self.contents = contents
        self.requests = 0
        self.artifact = Artifact("g", "app", "tar.gz", "all", "1", hashlib.sha256(contents).hexdigest())

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        self.requests += 1
        folder.mkdir(parents=True)
        path = folder / "fetched"
        path.write_bytes(self.contents)
        return path


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith("lock"))


def test_an_archive_is_unpacked_once_and_then_deleted(tmp_path: Path) -> None:
    central = MavenCentral(archive_of("run.jar", "lib/a.jar"))
    cache = ArtifactCache(tmp_path, central)
    first = unpacked(cache, central.artifact, None, instead=INSTEAD)
    assert (first / "lib" / "a.jar").read_text() == "lib/a.jar"
    assert unpacked(cache, central.artifact, None, instead=INSTEAD) == first
    assert central.requests == 1
    assert files_in(tmp_path) == [first.name]


def test_another_archive_of_a_version_has_another_folder(tmp_path: Path) -> None:
    folders = set()
    for names in (("a",), ("b",)):
        central = MavenCentral(archive_of(*names))
        folders.add(unpacked(ArtifactCache(tmp_path, central), central.artifact, None, instead=INSTEAD))
    assert len(folders) == 2


@pytest.mark.parametrize(
    "contents",
    [
        archive_of("good", "../outside"),
        archive_of("good", "/../../outside"),
        archive_of("good")[:-20],
        b"no tar",
    ],
    ids=["parent", "absolute", "cut", "none"],
)
def test_a_bad_archive_leaves_no_unpacked_files(tmp_path: Path, contents: bytes) -> None:
    central = MavenCentral(contents)
    cache = ArtifactCache(tmp_path / "cache", central)
    with pytest.raises(ArtifactUnpackError, match=r"cannot unpack app-1-all\.tar\.gz into"):
        unpacked(cache, central.artifact, None, instead=INSTEAD)
    assert files_in(cache.folder) == [central.artifact.file_name]
    assert files_in(tmp_path) == ["cache"]


def test_files_left_by_a_killed_process_are_not_trusted(tmp_path: Path) -> None:
    (tmp_path / ".unpacking").mkdir()
    (tmp_path / ".unpacking" / "half").write_bytes(b"")
    central = MavenCentral(archive_of("run.jar"))
    folder = unpacked(ArtifactCache(tmp_path, central), central.artifact, None, instead=INSTEAD)
    assert files_in(folder) == ["run.jar"]


def test_the_error_for_unreachable_maven_names_the_callers_alternative(tmp_path: Path) -> None:
    central = MavenCentral(archive_of("run.jar"))

    def unreachable(artifact: Artifact, folder: Path) -> Path:
        raise ArtifactUnreachableError("ConnectionError: name resolution failed")

    with pytest.raises(ArtifactUnreachableError, match=rf"{INSTEAD}, or copy the folder {tmp_path}"):
        unpacked(ArtifactCache(tmp_path, unreachable), central.artifact, None, instead=INSTEAD)
