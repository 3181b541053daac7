"""The check of the worker's state folder: writable, enough free space, not in use."""

import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from sway.doctor.findings import Finding, Status, fail, ok, warn

CHECK = "state folder"
LOW_BYTES = 1024**3
TOO_LOW_BYTES = 64 * 1024**2
_SETTING = "SWAY_STATE_DIR"
_GIB = 1024**3


def check_state_folder(path: Path, slot: str | None) -> Finding:
    """Check the folder, or the parent in which it would be created, without changing anything.

    slot: the configured slot, None if not set.
    """
    if path.exists() and not path.is_dir():
        return fail(CHECK, f"{path} is not a folder", f"set {_SETTING} to a folder")
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    problem = _why_not_writable(existing)
    if problem:
        return fail(CHECK, f"{existing} is not writable: {problem}", f"set {_SETTING} to a writable folder")
    free = shutil.disk_usage(existing).free
    status, room = judge_free(free)
    found = f"{path} {_contents(path, slot)}, {free / _GIB:.1f} GiB free"
    if room:
        return Finding(CHECK, status, found, room)
    if _in_use(path):
        return warn(
            CHECK,
            f"{found}; in use by a running worker",
            f"expected if that is this worker; another worker needs another {_SETTING}",
        )
    return ok(CHECK, found)


def judge_free(free_bytes: int) -> tuple[Status, str]:
    """Return the severity and the advice for this free space; (OK, "") if it is enough."""
    if free_bytes < TOO_LOW_BYTES:
        return Status.FAIL, f"free some space, or set {_SETTING} to another disk"
    if free_bytes < LOW_BYTES:
        return Status.WARN, "less than 1 GiB: a window needs up to SWAY_WINDOW__MAX_BYTES per user"
    return Status.OK, ""


def _why_not_writable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as exc:
        return exc.strerror or type(exc).__name__


def _contents(path: Path, slot: str | None) -> str:
    if not path.is_dir():
        return "is created at the first start"
    stores = len(list(path.glob("partition-*")))
    file = path / "slot"
    named = slot or (file.read_text().strip() if file.is_file() else "not assigned yet")
    source = " (SWAY_SLOT: no other worker may use it)" if slot else ""
    return f"has {stores} partitions, slot {named}{source}"


def _in_use(path: Path) -> bool:
    file = path / "lock"
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
