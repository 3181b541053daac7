"""Files behind fsspec: whole or not there, and created only where there are none.

A local disk makes both by link(2) and rename(2); S3 and GCS by a conditional write (for S3 `If-None-Match: *`,
which s3fs sends for mode="create"). A store that has neither must have one writer at a time.

Source: Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests".
"""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

_STAGING = ".staging"
_CONFLICT_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class Storage:
    """One folder, on a local disk or at any fsspec address such as s3://bucket/registry.

    Paths are relative to it, with forward slashes. May be shared between threads and processes.
    """

    def __init__(self, address: str | Path) -> None:
        # A kept listing would hide what another process has created since: s3fs looks there before it reads a file.
        self._fs, self._root = fsspec.core.url_to_fs(str(address), use_listings_cache=False)
        self.is_local = isinstance(self._fs, LocalFileSystem)

    @property
    def root(self) -> str:
        """What stands before every path, for messages."""
        return str(self._root)

    def read(self, path: str) -> bytes:
        """Return a file's content as it is now; raises FileNotFoundError."""
        content: bytes = self._fs.cat_file(self._full(path))
        return content

    def exists(self, path: str) -> bool:
        """Say whether there is such a file now."""
        self._fs.invalidate_cache()  # another process may have written since
        return bool(self._fs.exists(self._full(path)))

    def names(self, folder: str) -> list[str]:
        """List the plain names in a folder; an absent one is empty."""
        self._fs.invalidate_cache()
        try:
            paths = self._fs.ls(self._full(folder), detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]

    def size_bytes(self, path: str) -> int:
        """Return what a folder's files take together; 0 for an absent one."""
        return sum(size for _, size, _ in self._files(path))

    def changed_at_s(self, path: str) -> float:
        """Return when the newest of a folder's files was written, in epoch seconds; 0.0 without files."""
        return max((changed_at_s for _, _, changed_at_s in self._files(path)), default=0.0)

    def remove(self, path: str, first: str | None = None) -> None:
        """Remove a folder or a file, or do nothing if there is none.

        On a local disk it disappears at once; in an object store the file named `first` goes before the others.
        """
        if self.is_local:
            aside = self._staging()
            with suppress(FileNotFoundError):
                Path(self._full(path)).rename(aside)
                _remove_tree(aside)
            return
        if first is not None:
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._full(f"{path}/{first}"))
        with suppress(FileNotFoundError):
            self._fs.rm(self._full(path), recursive=True)

    def remove_remains(self, older_than_s: float) -> int:
        """Remove what interrupted copies have left on a local disk before that time; return its bytes."""
        if not self.is_local:
            return 0
        removed_bytes = 0
        for name in self.names(_STAGING):
            path = f"{_STAGING}/{name}"
            left = Path(self._full(path))
            with suppress(OSError):  # another process cleans up too, or this is another user's
                if max(left.stat().st_mtime, self.changed_at_s(path)) >= older_than_s:
                    continue
                size_bytes = self.size_bytes(path)
                _remove_tree(left)
                removed_bytes += size_bytes
        return removed_bytes

    def _files(self, path: str) -> list[tuple[str, int, float]]:
        """Return name, size and epoch seconds of the last change of a file, or of all files in a folder."""
        try:
            found = self._fs.find(self._full(path), detail=True)
        except FileNotFoundError:
            return []
        return [(name, int(info["size"]), _changed_at_s(info)) for name, info in found.items()]

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file to a local one; raises FileNotFoundError."""
        self._fs.get_file(self._full(path), str(target))

    def create(self, path: str, content: bytes) -> None:
        """Create a small file whole, or raise FileExistsError; a reader never sees half of it.

        On a local disk its mode is the umask's, so that a worker of another user can read it.
        """
        if not self.is_local:
            self._fs.makedirs(str(PurePosixPath(self._full(path)).parent), exist_ok=True)
            self._create_remote(path, content)
            return
        target = Path(self._full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = self._staging()
        try:
            with staged.open("xb") as file:  # not tempfile, whose files nobody else may read
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(staged, target)
        finally:
            staged.unlink(missing_ok=True)

    def _create_remote(self, path: str, content: bytes) -> None:
        """Write on condition. S3 answers a conflict while another writer is at it: then the end decides."""
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            try:
                self._fs.pipe_file(self._full(path), content, mode="create")
            except FileExistsError:
                raise
            except OSError as exc:
                refusal = _s3_error_code(exc)
                if refusal == "PreconditionFailed":  # from a store that does not name the condition
                    raise FileExistsError(self._full(path)) from exc
                if refusal != "ConditionalRequestConflict" or pause_s is None:
                    raise
                time.sleep(pause_s)
            else:
                return

    def put(self, source: Path, path: str) -> None:
        """Copy a local file in, whole, in place of what is there."""
        if not self.is_local:
            self._fs.makedirs(str(PurePosixPath(self._full(path)).parent), exist_ok=True)
            self._fs.put_file(str(source), self._full(path))
            return
        target = Path(self._full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = self._staging()
        try:
            shutil.copyfile(source, staged)
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)

    def replace(self, path: str, content: bytes) -> None:
        """Write a small file whole, in place of what is there."""
        with tempfile.NamedTemporaryFile(prefix="sway-") as file:
            file.write(content)
            file.flush()
            self.put(Path(file.name), path)

    def place(self, files: Mapping[str, Path], texts: Mapping[str, str], folder: str, marker: str) -> None:
        """Make a folder of a local disk appear with all its files at once, or raise FileExistsError.

        files: local files by the names that they get; texts: contents by name. marker: a folder without this
        file is what an interrupted copy left, and is replaced.
        """
        target = Path(self._full(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = self._staging()
        try:
            for name, source in files.items():
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, staged / name)
            for name, text in texts.items():
                (staged / name).write_text(text, encoding="utf-8")
            if target.is_dir() and not (target / marker).exists():
                self._set_aside(target, marker)
            try:
                staged.rename(target)  # fails if the target is a folder that is not empty
            except OSError as exc:
                if target.is_dir():
                    raise FileExistsError(str(target)) from exc
                raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _set_aside(self, target: Path, marker: str) -> None:
        aside = self._staging()
        with suppress(OSError):  # another one was faster
            target.rename(aside)
        if (aside / marker).exists():  # it was completed between the look and the move
            with suppress(OSError):
                aside.rename(target)
        shutil.rmtree(aside, ignore_errors=True)

    def _staging(self) -> Path:
        path = Path(self._full(_STAGING)) / uuid.uuid4().hex
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"


def _remove_tree(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _changed_at_s(info: Mapping[str, Any]) -> float:
    """Read the time of a file's last change, which file systems give under different names."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        found = info.get(name)
        if isinstance(found, int | float):
            return float(found)
        if isinstance(found, str):
            found = datetime.fromisoformat(found)
        if isinstance(found, datetime):
            return found.timestamp()
    return time.time()  # unknown: as if it had been written just now


def _s3_error_code(exc: OSError) -> str:
    """Return the code that S3 answered with, empty if the error is another; s3fs keeps botocore's as the cause."""
    response = getattr(exc.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
