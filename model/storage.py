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
from pathlib import Path, PurePosixPath

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


def _s3_error_code(exc: OSError) -> str:
    """Return the code that S3 answered with, empty if the error is another; s3fs keeps botocore's as the cause."""
    response = getattr(exc.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
