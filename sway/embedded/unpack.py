"""Unpacking of archives from Maven Central into the user's cache."""

import fcntl
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sway.embedded.artifacts import Artifact, ArtifactCache, Progress
from sway.embedded.errors import ArtifactUnpackError


def unpacked(cache: ArtifactCache, artifact: Artifact, on_fetch: Progress | None, *, instead: str) -> Path:
    """Return the folder with the contents of an archive (tar.gz); download and unpack it the first time.

    The folder's name contains the start of the archive's sha256, and the folder is created atomically, so later starts
    use it without verification. The archive itself is not kept. One process unpacks at a time.
    instead: see ArtifactCache.paths. Raises ArtifactError; a partially unpacked folder is removed then.
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
    # It may be left by a killed process.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # The filter rejects paths outside the folder.
            tar.extractall(partial, filter="data")
        partial.rename(folder)
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise ArtifactUnpackError(
            f"cannot unpack {archive.name} into {folder.parent} ({type(exc).__name__}: {exc})"
        ) from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock for unpacking, which differs from the one for downloads; a killed process releases it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".unpack-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
