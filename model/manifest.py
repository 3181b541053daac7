"""What a version in the registry says of itself: manifest.json."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.errors import ModelCorrupt, ModelIncompatible
from model.hashing import sha256_of

MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 1

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version's origin and content.

    version: 1 to 80 letters, digits, `.`, `_` or `-`. parent: the version that it was trained from, None
    for a first model. base: name of the pre-trained checkpoint. data: what it was trained on, such as
    {"ranges": [{"topic": ..., "partition": 0, "start": 0, "end": 9}]}, half open. metrics: by name.
    config: the training configuration. files: sha256 in hex by path, written by publish(). folder: where in the
    version's own folder the files are, written by publish() too; empty for right there.
    """

    version: str
    base: str
    created_at_ms: int
    parent: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    def __post_init__(self) -> None:
        check_version(self.version)

    def to_json(self) -> str:
        """Return manifest.json's content."""
        return json.dumps({"format": MANIFEST_FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """Parse manifest.json; raises ModelCorrupt, or ModelIncompatible if it is of another format."""
        try:
            raw = json.loads(text)
            found = raw.pop("format")
            if found != MANIFEST_FORMAT:
                raise ModelIncompatible(f"{where} is of format {found!r}, this code reads {MANIFEST_FORMAT}")
            return cls(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ModelCorrupt(f"{where} is not a manifest: {exc!r}") from exc

    def verify(self, folder: Path) -> None:
        """Compare every file of a folder with its sha256, and refuse files that are not listed.

        Raises ModelCorrupt, with the file and both hashes.
        """
        present = set(files_of(folder))
        if present != set(self.files):
            raise ModelCorrupt(
                f"version {self.version}: missing files {sorted(set(self.files) - present)}, "
                f"files that the manifest does not list {sorted(present - set(self.files))}"
            )
        for name, expected in self.files.items():
            actual = sha256_of(folder / name)
            if actual != expected:
                raise ModelCorrupt(
                    f"version {self.version}: {name} has sha256 {actual}, its manifest says {expected}; "
                    "publish the version again or roll back"
                )


def is_version(name: str) -> bool:
    """Say whether a name can be a version's."""
    return _VERSION.fullmatch(name) is not None


def check_version(version: str) -> str:
    """Return the version if it can be a folder's name; raises ValueError if not."""
    if not is_version(version):
        raise ValueError(f"version {version!r} must be 1 to 80 letters, digits, dots, underscores or dashes")
    return version


def files_of(folder: Path) -> list[str]:
    """Return a folder's files, relative, with forward slashes, sorted, without its manifest."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST_FILE)
