"""Atomic writes and exclusive creation of files through fsspec.

On a local disk they use link(2) and rename(2). On S3 and GCS they use conditional writes (for S3 `If-None-Match: *`,
which s3fs sends for mode="create"). A store that supports neither must have a single writer.

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
    """A folder on a local disk or at any fsspec URL such as s3://bucket/registry.

    Paths are relative to the folder, with forward slashes. Safe for concurrent threads and processes.
    """

    def __init__(self, address: str | Path) -> None:
        # s3fs checks cached listings before it reads a file, and they would hide files created by other processes.
        self._fs, self._root = fsspec.core.url_to_fs(str(address), use_listings_cache=False)
        self.is_local = isinstance(self._fs, LocalFileSystem)

    @property
    def root(self) -> str:
        """The prefix of every path, for messages."""
        return str(self._root)

    def read(self, path: str) -> bytes:
        """Return the current content of a file. Raises FileNotFoundError."""
        content: bytes = self._fs.cat_file(self._full(path))
        return content

    def exists(self, path: str) -> bool:
        """Return whether the file exists now."""
        # Another process may have written to the folder.
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._full(path)))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, without their paths; empty if the folder does not exist."""
        self._fs.invalidate_cache()
        try:
            paths = self._fs.ls(self._full(folder), detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]

    def size_bytes(self, path: str) -> int:
        """Return the total size of a folder's files; 0 if the folder does not exist."""
        return sum(size for _, size, _ in self._files(path))

    def changed_at_s(self, path: str) -> float:
        """Return the modification time of a folder's newest file, in epoch seconds; 0.0 without files."""
        return max((changed_at_s for _, _, changed_at_s in self._files(path)), default=0.0)

    def remove(self, path: str, first: str | None = None) -> None:
        """Remove a folder or a file; do nothing if it does not exist.

        On a local disk it disappears atomically. In an object store the file `first` is removed before the others.
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

    def remove_incomplete(self, older_than_s: float) -> int:
        """Remove staging files of interrupted copies from a local disk; return their size in bytes.

        older_than_s: epoch seconds; only files last modified before this time are removed.
        """
        if not self.is_local:
            return 0
        removed_bytes = 0
        for name in self.names(_STAGING):
            path = f"{_STAGING}/{name}"
            staged = Path(self._full(path))
            # Another process may be removing it too, or it may belong to another user.
            with suppress(OSError):
                if max(staged.stat().st_mtime, self.changed_at_s(path)) >= older_than_s:
                    continue
                size_bytes = self.size_bytes(path)
                _remove_tree(staged)
                removed_bytes += size_bytes
        return removed_bytes

    def _files(self, path: str) -> list[tuple[str, int, float]]:
        """Return name, size in bytes and modification time in epoch seconds of a file or of all files in a folder."""
        try:
            found = self._fs.find(self._full(path), detail=True)
        except FileNotFoundError:
            return []
        return [(name, int(info["size"]), _changed_at_s(info)) for name, info in found.items()]

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file to a local path. Raises FileNotFoundError."""
        self._fs.get_file(self._full(path), str(target))

    def create(self, path: str, content: bytes) -> None:
        """Create a small file atomically, or raise FileExistsError.

        On a local disk its mode follows the umask, so that a worker of another user can read it.
        """
        if not self.is_local:
            self._fs.makedirs(str(PurePosixPath(self._full(path)).parent), exist_ok=True)
            self._create_remote(path, content)
            return
        target = Path(self._full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = self._staging()
        try:
            # Files of tempfile would be readable only by their owner.
            with staged.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(staged, target)
        finally:
            staged.unlink(missing_ok=True)

    def _create_remote(self, path: str, content: bytes) -> None:
        """Write if the file does not exist. S3 reports a conflict during a concurrent write; retry until it ends."""
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            try:
                self._fs.pipe_file(self._full(path), content, mode="create")
            except FileExistsError:
                raise
            except OSError as exc:
                code = _s3_error_code(exc)
                # s3fs maps this code to FileExistsError only if the store names the failed condition.
                if code == "PreconditionFailed":
                    raise FileExistsError(self._full(path)) from exc
                if code != "ConditionalRequestConflict" or pause_s is None:
                    raise
                time.sleep(pause_s)
            else:
                return

    def put(self, source: Path, path: str) -> None:
        """Copy a local file to a path atomically, replacing an existing file."""
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
        """Write a small file atomically, replacing an existing file."""
        with tempfile.NamedTemporaryFile(prefix="sway-") as file:
            file.write(content)
            file.flush()
            self.put(Path(file.name), path)

    def place(self, files: Mapping[str, Path], texts: Mapping[str, str], folder: str, marker: str) -> None:
        """Create a folder with all its files atomically on a local disk, or raise FileExistsError.

        files: local files by name in the folder. texts: further contents by name. marker: a folder without this file
        is incomplete and is replaced.
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
                # Fails if the target is a non-empty folder.
                staged.rename(target)
            except OSError as exc:
                if target.is_dir():
                    raise FileExistsError(str(target)) from exc
                raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _set_aside(self, target: Path, marker: str) -> None:
        aside = self._staging()
        # Another process may have been faster.
        with suppress(OSError):
            target.rename(aside)
        # The folder may have been completed between the check and the rename.
        if (aside / marker).exists():
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
    """Return a file's modification time in epoch seconds; file systems name it differently."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        found = info.get(name)
        if isinstance(found, int | float):
            return float(found)
        if isinstance(found, str):
            found = datetime.fromisoformat(found)
        if isinstance(found, datetime):
            return found.timestamp()
    # If the time is unknown, the file counts as just written.
    return time.time()


def _s3_error_code(exc: OSError) -> str:
    """Return S3's error code, or "" for any other error; s3fs sets botocore's error as the cause."""
    response = getattr(exc.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
