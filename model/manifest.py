"""Manifests: the manifest.json of a version in the registry."""

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
    """The origin and content of a version.

    version: 1 to 80 letters, digits, `.`, `_` or `-`. parent: the version that it was trained from, None for a first
    model. base: name of the pre-trained checkpoint. data: the training data, such as
    {"ranges": [{"topic": ..., "partition": 0, "start": 0, "end": 9}]}, half-open. metrics: values by name.
    config: the training configuration. files: SHA-256 in hex by path, set by publish(). folder: the subfolder of the
    version's folder that contains the files, set by publish(); empty if there is none.
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
        """Return the content of manifest.json."""
        return json.dumps({"format": MANIFEST_FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """Parse manifest.json. Raises ModelCorrupt, or ModelIncompatible if the format is unknown."""
        try:
            raw = json.loads(text)
            found = raw.pop("format")
            if found != MANIFEST_FORMAT:
                raise ModelIncompatible(
                    f"{where} has format {found!r}; this version of Sway reads {MANIFEST_FORMAT}"
                )
            return cls(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ModelCorrupt(f"{where} is not a manifest: {exc!r}") from exc

    def verify(self, folder: Path) -> None:
        """Check the SHA-256 of every file of a folder.

        Raises ModelCorrupt if a file is missing, not listed or has another hash; the message has both hashes.
        """
        present = set(files_of(folder))
        if present != set(self.files):
            raise ModelCorrupt(
                f"version {self.version}: missing files {sorted(set(self.files) - present)}, "
                f"files not listed in the manifest {sorted(present - set(self.files))}"
            )
        for name, expected in self.files.items():
            actual = sha256_of(folder / name)
            if actual != expected:
                raise ModelCorrupt(
                    f"version {self.version}: {name} has sha256 {actual}, but the manifest lists {expected}; "
                    "publish the version again or roll back"
                )


def is_version(name: str) -> bool:
    """Return whether a name is a valid version name."""
    return _VERSION.fullmatch(name) is not None


def check_version(version: str) -> str:
    """Return the version if it is a valid version name; raise ValueError otherwise."""
    if not is_version(version):
        raise ValueError(f"version {version!r} must be 1 to 80 letters, digits, dots, underscores or dashes")
    return version


def files_of(folder: Path) -> list[str]:
    """Return the sorted relative paths of a folder's files, with forward slashes, without the manifest."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST_FILE)
