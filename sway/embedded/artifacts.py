"""Files from Maven Central: pinned by a lock file, verified, and cached per user.

A lock file has one artifact per line, with its Maven coordinates and sha256:

    group:name:type:version sha256
    group:name:type:classifier:version sha256

The versions were resolved with Maven (see docs/embedded.md); nothing is resolved at run time.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import platformdirs

from sway.embedded.errors import (
    ArtifactHashError,
    ArtifactLockError,
    ArtifactUnreachableError,
    MissingExtraError,
)

FETCH_ATTEMPTS = 3
FETCH_TIMEOUT_S = 30
KAFKA_INSTEAD = "use a Kafka cluster of your own (set SWAY_KAFKA__BOOTSTRAP_SERVERS to its host:port)"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of Maven Central, pinned by its hash."""

    group: str
    name: str
    packaging: str
    classifier: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """The Maven coordinates of the artifact."""
        parts = (self.group, self.name, self.packaging, self.classifier, self.version)
        return ":".join(part for part in parts if part)

    @property
    def file_name(self) -> str:
        """The file name in a Maven repository."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"


class Fetcher(Protocol):
    """A download of one artifact; tests inject their own."""

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        """Download to a path below `folder`, and return it.

        Raises ArtifactUnreachableError if the download fails.
        """


Progress = Callable[[int, int, Artifact], None]
"""Called before each download with (downloads done, downloads in total, artifact)."""


def default_cache_dir() -> Path:
    """Return the artifact folder of this user, which may not exist yet."""
    return Path(platformdirs.user_cache_dir("sway")) / "artifacts"


def parse_lock(text: str) -> tuple[Artifact, ...]:
    """Parse a lock file; empty lines and lines that start with # are ignored.

    Raises ArtifactLockError with the first invalid line.
    """
    return tuple(
        _parse_lock_line(number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    )


def _parse_lock_line(number: int, line: str) -> Artifact:
    coordinates, _, sha256 = line.strip().partition(" ")
    parts = coordinates.split(":")
    if len(parts) == 4:
        parts.insert(3, "")
    if len(parts) != 5 or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ArtifactLockError(
            f"line {number} of the lock file is {line!r}; expected group:name:type[:classifier]:version, "
            "a space and 64 hexadecimal digits"
        )
    group, name, packaging, classifier, version = parts
    return Artifact(group, name, packaging, classifier, version, sha256)


def fetch_from_maven_central(artifact: Artifact, folder: Path) -> Path:
    """Download one artifact with jgo, with retries.

    Raises ArtifactUnreachableError if all attempts fail, MissingExtraError if jgo is not installed.
    """
    try:
        from jgo.maven import MavenContext
    except ImportError as exc:
        raise MissingExtraError("jgo") from exc
    reason: Exception | None = None
    for attempt in range(FETCH_ATTEMPTS):
        # jgo writes to the final name and trusts existing files, so each attempt gets a new folder.
        context = MavenContext(repo_cache=folder / str(attempt), timeout=FETCH_TIMEOUT_S)
        component = context.project(artifact.group, artifact.name).at_version(artifact.version)
        try:
            return Path(component.artifact(artifact.classifier, artifact.packaging).resolve())
        # Errors of requests are OSErrors; a 404 is a RuntimeError.
        except (OSError, RuntimeError) as exc:
            reason = exc
    raise ArtifactUnreachableError(f"{type(reason).__name__}: {reason}") from reason


class ArtifactCache:
    """A folder of verified artifacts, shared by all processes of one user.

    A file gets its final name only after its sha256 was verified, so a process that is killed during a download leaves
    no invalid file. One process downloads at a time.
    """

    def __init__(self, folder: Path | None = None, fetch: Fetcher = fetch_from_maven_central) -> None:
        self.folder = folder if folder is not None else default_cache_dir()
        self._fetch = fetch

    def paths(
        self,
        artifacts: Sequence[Artifact],
        on_fetch: Progress | None = None,
        *,
        instead: str = KAFKA_INSTEAD,
    ) -> tuple[Path, ...]:
        """Return the file of each artifact, in order; download missing and damaged ones.

        Every call hashes all files: 45 MB take a tenth of a second. instead: the alternative that an error suggests if
        Maven Central is unreachable. Raises ArtifactUnreachableError or ArtifactHashError; earlier downloads are kept.
        """
        if self._missing(artifacts):
            with self._lock():
                # Another process may have downloaded them while this one waited for the lock.
                missing = self._missing(artifacts)
                for done, artifact in enumerate(missing):
                    if on_fetch is not None:
                        on_fetch(done, len(missing), artifact)
                    self._download(artifact, instead)
        return tuple(self.folder / artifact.file_name for artifact in artifacts)

    def _missing(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        return [a for a in artifacts if _sha256(self.folder / a.file_name) != a.sha256]

    def _download(self, artifact: Artifact, instead: str) -> None:
        partial = self.folder / ".partial"
        # It may be left by a killed process.
        shutil.rmtree(partial, ignore_errors=True)
        try:
            fetched = self._fetch(artifact, partial)
            got = _sha256(fetched)
            if got != artifact.sha256:
                raise ArtifactHashError(
                    f"{artifact.coordinates} does not match its lock file: expected sha256 {artifact.sha256}, got "
                    f"{got}. The download was discarded; a proxy or mirror may have changed it. "
                    f"{self._alternatives(instead)}"
                )
            fetched.replace(self.folder / artifact.file_name)
        except ArtifactUnreachableError as exc:
            raise ArtifactUnreachableError(
                f"cannot download {artifact.coordinates} from Maven Central ({exc}). {self._alternatives(instead)}"
            ) from exc
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _alternatives(self, instead: str) -> str:
        return f"Either {instead}, or copy the folder {self.folder} from a machine that has it."

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the lock for downloads; the operating system releases the lock of a killed process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _sha256(path: Path) -> str:
    """Return the sha256 of a file, or "" if it does not exist."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
