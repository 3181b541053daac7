"""Workers of an older version of Sway: its files are from git's history, with the packages installed here."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.process import ForkedWorker
from tests.integration.workers import RunningProcess

REPOSITORY = Path(__file__).parents[2]
OLD_VERSION = "e102bdb"
"""The last commit before state formats and their policy were written down (docs/schemas.md)."""
_UNKNOWN_TO_IT = ("SWAY_TRAINER__WEB_PORT",)
"""Settings of tests that the older version does not have; it refuses unknown settings."""
_ON_THE_PATH = ("sway", "stream", "trainer", "model", "schemas")


def old_tree(version: str = OLD_VERSION) -> Path:
    """Return a folder with the packages of an older commit, which is extracted from git's history the first time.

    Raises RuntimeError if the checkout does not have that commit.
    """
    folder = REPOSITORY / "build" / f"sway-{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        archive, unpacked = Path(name, "tree.tar"), Path(name, "tree")
        _archive(version, archive)
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        unpacked.rename(folder)
    return folder


def _archive(version: str, archive: Path) -> None:
    git = shutil.which("git")
    if git is None:
        raise RuntimeError(f"This case needs git, for the files of the older version {version}.")
    done = subprocess.run(
        [git, "archive", "--output", archive, version, *_ON_THE_PATH],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"This case needs the commit {version} in a git checkout with its history (git fetch --unshallow), for "
            f"workers of the older version: {done.stderr.strip()}"
        )


class VersionedWorker(ForkedWorker):
    """A worker that starts in the older version if `tree` is set, else in ours.

    Both versions share a state folder, a port and a log.
    """

    tree: Path | None = None

    @property
    def version(self) -> str:
        """The version in which it starts."""
        return "ours" if self.tree is None else OLD_VERSION

    def _launch(self, command: Sequence[str], environment: dict[str, str]) -> RunningProcess:
        if self.tree is None:
            return super()._launch(command, environment)
        self._ended_on_purpose = False
        known = {name: value for name, value in environment.items() if name not in _UNKNOWN_TO_IT}
        environment = {**known, "PYTHONPATH": str(self.tree)}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command], cwd=self.tree, env=environment, stdout=log, stderr=log
            )
