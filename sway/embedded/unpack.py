"""Archives from Maven Central, unpacked once into the user's cache."""

import fcntl
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sway.embedded.artifacts import Artifact, ArtifactCache, Progress
from sway.embedded.errors import ArtifactUnpackError


def unpacked(cache: ArtifactCache, artifact: Artifact, on_fetch: Progress | None, *, instead: str) -> Path:
    """Return the folder that holds the contents of an archive (tar.gz), fetching and unpacking it the first time.

    The folder's name holds the start of the archive's sha256, and the folder is there whole or not at all, so a later
    start trusts it without reading it. The archive itself is not kept. One process unpacks at a time.
    instead: see ArtifactCache.paths. Raises ArtifactError; nothing half unpacked is left then.
    """
    folder = cache.folder / f"{artifact.file_name.removesuffix('.tar.gz')}-{artifact.sha256[:12]}"
    if not folder.exists():
        with _one_at_a_time(cache.folder):
            # Another process may have unpacked it while this one waited for the lock.
            if not folder.exists():
                (archive,) = cache.paths([artifact], on_fetch, instead=instead)
                _unpack(archive, folder)
                archive.unlink()
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    partial = folder.with_name(".unpacking")
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(partial, filter="data")  # refuses what would lie outside the folder
        partial.rename(folder)
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise ArtifactUnpackError(
            f"cannot unpack {archive.name} into {folder.parent} ({type(exc).__name__}: {exc})"
        ) from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Not the lock for fetching, which is taken inside; the system releases the lock of a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".unpack-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
