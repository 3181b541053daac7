"""The model registry: a folder behind fsspec, on a local disk or in an object store.

    versions/<version>/           a checkpoint, its tokenizer, manifest.json (written last)
    promotions/000017.json        created exclusively; the highest number names the champion

Storage has no compare-and-swap, but it can create a file only if there is none: on a local disk by
link(2), in S3 and GCS by a conditional write. So two promotions at once get two numbers.

Source: DESIGN section 9.
"""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import fsspec
import torch
from fsspec.implementations.local import LocalFileSystem

from model.errors import ModelCorrupt, ModelIncompatible, ModelMissing, PromotionConflict
from model.hashing import sha256_of
from model.loaded import LoadedModel
from model.manifest import MANIFEST_FILE, Manifest, check_version, files_of
from model.tokens import BehaviourTokenizer

_PROMOTION = re.compile(r"(\d{6,})\.json")
_PROMOTION_TRIES = 10


@dataclass(frozen=True, slots=True)
class Promotion:
    """One numbered file: from here on, this version is the champion. A rollback is one too."""

    version: str
    promoted_at_ms: int
    reason: str = ""


def _now_ms() -> int:
    return int(time.time() * 1000)


class ModelRegistry:
    """Versions and promotions under one address.

    address: a folder, or any fsspec address such as s3://bucket/registry.
    now_ms: the time that promotions carry; the highest number counts, never the time.
    """

    def __init__(self, address: str | Path, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(str(address))
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._now_ms = now_ms

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Copy a checkpoint folder in, with the sha256 of every file; return its version.

        The manifest goes last: a version without one does not exist yet, so an interrupted publish can be
        repeated. Publishing the same files under the same version again changes nothing.
        Raises ModelCorrupt if the version exists with other files.
        """
        hashes = {name: sha256_of(folder / name) for name in files_of(folder)}
        if not hashes:
            raise ModelMissing(f"nothing to publish in {folder}")
        if self.exists(manifest.version):
            if self.manifest(manifest.version).files != hashes:
                raise ModelCorrupt(f"version {manifest.version} exists already, with other files")
            return manifest.version
        target = self._version_path(manifest.version)
        for name in hashes:
            path = f"{target}/{name}"
            self._fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
            self._fs.put_file(str(folder / name), path)
        text = replace(manifest, files=hashes).to_json()
        with suppress(FileExistsError):  # somebody published the same version meanwhile
            self._create(f"{target}/{MANIFEST_FILE}", text.encode())
        return manifest.version

    def promote(self, version: str, *, reason: str = "") -> int:
        """Make a version the champion; return the promotion's number. Rolling back is the same.

        Raises ModelMissing if there is no such version, PromotionConflict if the next number was taken
        each time.
        """
        self.manifest(version)
        text = json.dumps(asdict(Promotion(version, self._now_ms(), reason)), indent=2) + "\n"
        for _ in range(_PROMOTION_TRIES):
            number = max(self.promotions(), default=0) + 1
            with suppress(FileExistsError):
                self._create(f"{self._root}/promotions/{number:06d}.json", text.encode())
                return number
        raise PromotionConflict(f"promoting {version}: the next number was taken {_PROMOTION_TRIES} times")

    def champion(self) -> str | None:
        """Return the version of the highest promotion; None before the first.

        Raises ModelCorrupt if that promotion cannot be read.
        """
        number = max(self.promotions(), default=0)
        return self.promotion(number).version if number else None

    def promotions(self) -> list[int]:
        """Return the numbers of all promotions, ascending."""
        names = self._names("promotions")
        return sorted(int(match[1]) for match in map(_PROMOTION.fullmatch, names) if match)

    def promotion(self, number: int) -> Promotion:
        """Read one promotion; raises ModelCorrupt if it is not one."""
        path = f"{self._root}/promotions/{number:06d}.json"
        try:
            promotion = Promotion(**json.loads(self._fs.cat_file(path)))
            check_version(promotion.version)
        except (OSError, ValueError, TypeError) as exc:
            raise ModelCorrupt(
                f"promotion {path} cannot be read: {exc!r}; remove it or promote anew"
            ) from exc
        return promotion

    def versions(self) -> list[str]:
        """Return the names of all complete versions, sorted."""
        return sorted(name for name in self._names("versions") if self.exists(name))

    def exists(self, version: str) -> bool:
        """Say whether a version is complete."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(f"{self._version_path(version)}/{MANIFEST_FILE}"))

    def manifest(self, version: str) -> Manifest:
        """Read a version's manifest; raises ModelMissing, or ModelCorrupt if it cannot be read."""
        path = f"{self._version_path(version)}/{MANIFEST_FILE}"
        try:
            text = self._fs.cat_file(path)
        except FileNotFoundError:
            known = ", ".join(self.versions()[-5:]) or "none"
            raise ModelMissing(f"no version {version!r} in {self._root}; the last known: {known}") from None
        manifest = Manifest.from_json(text, path)
        if manifest.version != version:
            raise ModelCorrupt(f"{path} is the manifest of {manifest.version!r}")
        return manifest

    def load(
        self,
        version: str,
        *,
        device: torch.device | None = None,
        dtype: str = "auto",
        cached_pieces: int = 100_000,
        tokenizer: BehaviourTokenizer | None = None,
    ) -> LoadedModel:
        """Fetch a version, verify every hash, then read it into memory.

        tokenizer: one in use, shared if this version reads texts in the same way.

        What is verified is a private copy, so nothing can change between the check and the reading.
        Raises ModelMissing, ModelCorrupt (with the file and both hashes) or ModelIncompatible.
        """
        with tempfile.TemporaryDirectory(prefix="sway-model-") as scratch:
            folder = self.fetch(version, Path(scratch) / version)
            return LoadedModel.from_folder(
                version,
                folder,
                device=device,
                dtype=dtype,
                cached_pieces=cached_pieces,
                tokenizer=tokenizer,
            )

    def fetch(self, version: str, folder: Path) -> Path:
        """Copy a version into a new folder and verify every hash; return the folder."""
        manifest = self.manifest(version)
        for name in manifest.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ModelIncompatible(f"version {version}: file name {name!r} leads out of its folder")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # verify() names all that are missing
                self._fs.get_file(f"{self._version_path(version)}/{name}", str(folder / name))
        manifest.verify(folder)
        return folder

    def _version_path(self, version: str) -> str:
        return f"{self._root}/versions/{check_version(version)}"

    def _names(self, part: str) -> list[str]:
        """List the plain names in one part of the registry; an absent part is empty."""
        self._fs.invalidate_cache()  # another process may have written since
        try:
            paths = self._fs.ls(f"{self._root}/{part}", detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]

    def _create(self, path: str, content: bytes) -> None:
        """Create a file whole, or raise FileExistsError; a reader never sees half of it."""
        self._fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        if not self._is_local:
            self._fs.pipe_file(path, content, mode="create")
            return
        target = Path(path)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, target)
