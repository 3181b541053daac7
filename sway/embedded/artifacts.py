"""Files from Maven Central: named by a lock file, verified, cached per user.

A lock file has one artefact a line, Maven's coordinates and the sha256 of the file:

    group:name:type:version sha256
    group:name:type:classifier:version sha256

Maven resolved the versions once (docs/embedded.md says how); nothing is resolved when Sway runs.
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
    """One file of Maven Central, down to its bytes."""

    group: str
    name: str
    packaging: str
    classifier: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """The artefact as Maven writes it."""
        parts = (self.group, self.name, self.packaging, self.classifier, self.version)
        return ":".join(part for part in parts if part)

    @property
    def file_name(self) -> str:
        """The name that the file has in every Maven repository."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"


class Fetcher(Protocol):
    """Brings one artefact into a folder; the seam where tests put a Maven Central of their own."""

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        """Return the fetched file, somewhere below `folder`.

        Raises ArtifactUnreachableError if it could not be brought.
        """


Progress = Callable[[int, int, Artifact], None]
"""Called before each fetch with (fetched so far, to fetch in all, the artefact)."""


def default_cache_dir() -> Path:
    """Return the folder for artefacts of this user, whether it exists or not."""
    return Path(platformdirs.user_cache_dir("sway")) / "artifacts"


def parse_lock(text: str) -> tuple[Artifact, ...]:
    """Parse a lock file; empty lines and lines that begin with # say nothing.

    Raises ArtifactLockError naming the line that does not fit.
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
    """Fetch one artefact with jgo, trying again when the connection breaks.

    Raises ArtifactUnreachableError, MissingExtraError if jgo is not installed.
    """
    try:
        from jgo.maven import MavenContext
    except ImportError as exc:
        raise MissingExtraError("jgo") from exc
    reason: Exception | None = None
    for attempt in range(FETCH_ATTEMPTS):
        # jgo writes straight to the final name and trusts what it finds there, so each try is a new folder.
        context = MavenContext(repo_cache=folder / str(attempt), timeout=FETCH_TIMEOUT_S)
        component = context.project(artifact.group, artifact.name).at_version(artifact.version)
        try:
            return Path(component.artifact(artifact.classifier, artifact.packaging).resolve())
        except (OSError, RuntimeError) as exc:  # requests' errors are OSErrors, a 404 is a RuntimeError
            reason = exc
    raise ArtifactUnreachableError(f"{type(reason).__name__}: {reason}") from reason


class ArtifactCache:
    """A folder of verified artefacts, shared by all processes of one user.

    A file is in the folder under its own name only when its sha256 is right, so a process that is killed
    while fetching leaves nothing that another would trust. One process fetches at a time.
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
        """Return the file of each artefact, in order, fetching what is missing or damaged.

        Every file is read and hashed each time: 45 MB cost a tenth of a second. instead: what a person can do
        who cannot reach Maven Central, in the words of an error.
        Raises ArtifactUnreachableError or ArtifactHashError; what was fetched before stays cached.
        """
        if self._missing(artifacts):
            with self._lock():
                # Another process may have fetched them while this one waited for the lock.
                missing = self._missing(artifacts)
                for done, artifact in enumerate(missing):
                    if on_fetch is not None:
                        on_fetch(done, len(missing), artifact)
                    self._bring(artifact, instead)
        return tuple(self.folder / artifact.file_name for artifact in artifacts)

    def _missing(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        return [a for a in artifacts if _sha256(self.folder / a.file_name) != a.sha256]

    def _bring(self, artifact: Artifact, instead: str) -> None:
        partial = self.folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        try:
            fetched = self._fetch(artifact, partial)
            got = _sha256(fetched)
            if got != artifact.sha256:
                raise ArtifactHashError(
                    f"{artifact.coordinates} does not match its lock file: sha256 {got} came, "
                    f"{artifact.sha256} is allowed. Nothing of it was kept. Something between here and Maven "
                    f"Central changed it: {self._ways_out(instead)}"
                )
            fetched.replace(self.folder / artifact.file_name)
        except ArtifactUnreachableError as exc:
            raise ArtifactUnreachableError(
                f"cannot fetch {artifact.coordinates} from Maven Central ({exc}). {self._ways_out(instead)}"
            ) from exc
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _ways_out(self, instead: str) -> str:
        return f"There are two ways out: {instead}, or copy the folder {self.folder} from a machine where it works."

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other processes from fetching; the system releases the lock of a killed one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _sha256(path: Path) -> str:
    """Return the file's sha256, or "" if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
