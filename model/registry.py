"""The model registry: a folder behind fsspec, on a local disk or in an object store.

    versions/<version>/           a checkpoint, its tokenizer, manifest.json; all at once, or the manifest last
    promotions/000017.json        created exclusively; the highest number names the champion
    rejections/<version>.json     created exclusively; why a version is not to be promoted
    pins/<version>.json           why a version is to stay when others are removed
    reports/<version>/<name>/     what an evaluation found, see model.reports

Storage has no compare-and-swap, but it can create a file only if there is none (model.storage). So two promotions
at once get two numbers, and one that expects a champion gets its number only if that champion was still it.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import EllipsisType
from typing import Unpack

from model import reports
from model.errors import ModelCorrupt, ModelIncompatible, ModelMissing, PromotionConflict
from model.hashing import sha256_of
from model.loading import LoadOptions, Model, load_model
from model.manifest import MANIFEST_FILE, Manifest, check_version, files_of, is_version
from model.promotions import Promotion, in_force
from model.scratch import model_scratch
from model.storage import Storage
from model.verdicts import CHAMPION_PROMOTION, Challenged, Rejection, Standing

__all__ = ["ModelRegistry", "Promotion", "Standing"]

_PROMOTION = re.compile(r"(\d{6,})\.json")
_PROMOTION_TRIES = 100


def _now_ms() -> int:
    return int(time.time() * 1000)


class ModelRegistry:
    """Versions and promotions under one address.

    address: a folder, or any fsspec address such as s3://bucket/registry.
    now_ms: the time that promotions carry; the highest number counts, never the time.
    """

    def __init__(self, address: str | Path, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self._storage = Storage(address)
        self._now_ms = now_ms

    @property
    def storage(self) -> Storage:
        """The files, for what removes them (model.removal)."""
        return self._storage

    # --- versions ---------------------------------------------------------------------------------------

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Copy a checkpoint folder in, with the sha256 of every file; return its version.

        On a local disk the version appears with all its files at once. In an object store the files go to a
        folder of their own below the version's, named after their hashes, and the manifest, which names it, goes
        last: a version without one does not exist yet. So an interrupted publish is invisible and can be
        repeated, and two at once do not touch each other's files. Publishing the same files under the same
        version again changes nothing.
        Raises ModelCorrupt if the version exists with other files.
        """
        hashes = {name: sha256_of(folder / name) for name in files_of(folder)}
        if not hashes:
            raise ModelMissing(f"nothing to publish in {folder}")
        if not self.exists(manifest.version):
            with suppress(FileExistsError):  # somebody published the same version meanwhile
                self._place(folder, replace(manifest, files=hashes))
        if self.manifest(manifest.version).files != hashes:
            raise ModelCorrupt(f"version {manifest.version} exists already, with other files")
        return manifest.version

    def versions(self) -> list[str]:
        """Return the names of all complete versions, sorted."""
        return sorted(
            name for name in self._storage.names("versions") if is_version(name) and self.exists(name)
        )

    def exists(self, version: str) -> bool:
        """Say whether a version is complete."""
        return self._storage.exists(f"{_version_path(version)}/{MANIFEST_FILE}")

    def manifest(self, version: str) -> Manifest:
        """Read a version's manifest; raises ModelMissing, or ModelCorrupt if it cannot be read."""
        path = f"{_version_path(version)}/{MANIFEST_FILE}"
        try:
            text = self._storage.read(path)
        except FileNotFoundError:
            known = ", ".join(self.versions()[-5:]) or "none"
            raise ModelMissing(
                f"no version {version!r} in {self._storage.root}; the last known: {known}"
            ) from None
        manifest = Manifest.from_json(text, f"{self._storage.root}/{path}")
        if manifest.version != version:
            raise ModelCorrupt(f"{path} is the manifest of {manifest.version!r}")
        return manifest

    def load(self, version: str, **options: Unpack[LoadOptions]) -> Model:
        """Fetch a version, verify every hash, then read it into memory, whichever its reading.

        What is verified is a private copy, so nothing can change between the check and the reading.
        Raises ModelMissing, ModelCorrupt (with the file and both hashes) or ModelIncompatible.
        """
        with model_scratch() as scratch:
            return load_model(version, self.fetch(version, scratch / version), **options)

    def fetch(self, version: str, folder: Path) -> Path:
        """Copy a version into a new folder and verify every hash; return the folder."""
        manifest = self.manifest(version)
        for name in manifest.files:
            path = PurePosixPath(manifest.folder) / name
            if path.is_absolute() or ".." in path.parts:
                raise ModelIncompatible(f"version {version}: file name {name!r} leads out of its folder")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # verify() names all that are missing
                self._storage.fetch(f"{_version_path(version)}/{path}", folder / name)
        manifest.verify(folder)
        return folder

    # --- promotions -------------------------------------------------------------------------------------

    def promote(self, version: str, *, reason: str = "", expected: str | EllipsisType | None = ...) -> int:
        """Make a version the champion; return the promotion's number.

        expected: the champion that the decision was made against, None for no champion yet; left out, any.
        Raises ModelMissing if there is no such version (any more), PromotionConflict if the champion is another than
        expected by now, or if the next number was taken each time.
        """
        self.manifest(version)
        promotion = Promotion(version, self._now_ms(), reason, id=uuid.uuid4().hex)
        for _ in range(_PROMOTION_TRIES):
            number = max(self.promotions(), default=0)
            if expected is not ...:
                champion = self.promotion(number).version if number else None
                if champion != expected:
                    raise PromotionConflict(
                        f"promoting {version}: the champion is {champion}, not {expected} any more; compare with it"
                    )
            if self._number(number + 1, promotion):
                if not self.exists(version):
                    raise ModelMissing(
                        f"promotion {number + 1} names {version}, which was removed meanwhile: workers refuse it and "
                        "the model before serves on; promote another version"
                    )
                return number + 1
        raise PromotionConflict(f"promoting {version}: the next number was taken {_PROMOTION_TRIES} times")

    def rollback(self, *, reason: str) -> str:
        """Go back to the champion before the current one; return its version.

        It is a promotion with a number of its own, which says how far back it goes. A second rollback goes back
        one champion further; after a new promotion, a rollback goes to what that replaced. If the newest
        promotion cannot be read, it is what is taken back.
        Raises ModelMissing if there is nothing to go back to, ModelCorrupt if an older promotion cannot be read,
        PromotionConflict if somebody promotes meanwhile: look, then decide anew.
        """
        numbers = self.promotions()
        if not numbers:
            raise ModelMissing(f"nothing to roll back in {self._storage.root}: nothing was promoted yet")
        stack = in_force([(number, self.promotion(number)) for number in numbers[:-1]])
        with suppress(ModelCorrupt):
            newest = [(number, self.promotion(number)) for number in numbers]
            stack = in_force(newest)[:-1]
        if not stack:
            raise ModelMissing(
                f"nothing to roll back to in {self._storage.root}: there was no champion before this one"
            )
        back_to, version = stack[-1]
        self.manifest(version)
        rollback = Promotion(version, self._now_ms(), reason, back_to, uuid.uuid4().hex)
        if not self._number(numbers[-1] + 1, rollback):
            raise PromotionConflict(f"rolling back to {version}: somebody else promoted meanwhile")
        return version

    def champion(self) -> str | None:
        """Return the version of the highest promotion; None before the first.

        Raises ModelCorrupt if that promotion cannot be read.
        """
        number = max(self.promotions(), default=0)
        return self.promotion(number).version if number else None

    def promotions(self) -> list[int]:
        """Return the numbers of all promotions, ascending."""
        names = self._storage.names("promotions")
        return sorted(int(match[1]) for match in map(_PROMOTION.fullmatch, names) if match)

    def promotion(self, number: int) -> Promotion:
        """Read one promotion; raises ModelCorrupt if it is not one, and what the storage raises while it is away."""
        path = _promotion_path(number)
        try:
            return Promotion.from_json(self._storage.read(path))
        except (FileNotFoundError, ValueError, TypeError) as exc:
            raise ModelCorrupt(
                f"promotion {self._storage.root}/{path} cannot be read: {exc!r}; roll back or promote anew"
            ) from exc

    def history(self) -> list[tuple[int, Promotion]]:
        """Return every promotion with its number, ascending; raises ModelCorrupt as promotion() does."""
        return [(number, self.promotion(number)) for number in self.promotions()]

    # --- verdicts and reports ---------------------------------------------------------------------------

    def reject(self, version: str, reason: str, metrics: Mapping[str, float] | None = None) -> None:
        """Record why a version is not to be promoted; it stays where it is, and a first reason stands.

        The version need not exist: training may have failed. A person may still promote it. A promotion that cannot be
        read does not hinder it: should it name this version, it counts more than the rejection.
        Raises PromotionConflict if it was promoted before: roll back instead.
        """
        check_version(version)
        if any(self._names(number, version) for number in self.promotions()):
            raise PromotionConflict(f"rejecting {version}: it was promoted before; roll back instead")
        rejection = Rejection(version, self._now_ms(), reason, dict(metrics or {}))
        with suppress(FileExistsError):
            self._storage.create(_rejection_path(version), rejection.to_json().encode())

    def rejections(self) -> list[str]:
        """Return the versions that were rejected, complete or not, sorted."""
        names = self._storage.names("rejections")
        return sorted(name.removesuffix(".json") for name in names if is_version(name))

    def rejection(self, version: str) -> Rejection | None:
        """Return why a version was rejected, None if it was not; raises ModelCorrupt if it cannot be read."""
        path = _rejection_path(version)
        try:
            return Rejection.from_json(self._storage.read(path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise ModelCorrupt(f"rejection {self._storage.root}/{path} cannot be read: {exc!r}") from exc

    def challenged(self, champion: str) -> Challenged:
        """Count the challengers of a champion: those compared with it and rejected, and those that replaced it.

        Whichever promotion named the champion then. A challenger that replaced it counts once it has come back.
        A promotion that cannot be read is passed over. A rejection that cannot be read counts: it must neither block
        the gate nor make it more lenient. Raises ModelMissing if the champion was never promoted.
        """
        numbers = [number for number in self.promotions() if self._names(number, champion)]
        if not numbers:
            raise ModelMissing(f"version {champion} was never promoted in {self._storage.root}")
        there = set(self.promotions())
        won = sum(number + 1 in there and self._replaces(number + 1, champion) for number in numbers)
        lost = sum(self._lost_to(numbers, version) for version in self.rejections())
        return Challenged(numbers[-1], won + lost)

    def verdict(self, version: str) -> Standing:
        """Say where a version stands. Having been promoted counts more than a rejection.

        A promotion that cannot be read is passed over: an old one must not stop all later requests.
        Raises ModelMissing if there is no such version and none of that name was rejected.
        """
        numbers = self.promotions()
        named = [number for number in numbers if self._names(number, version)]
        if named:
            newest = self.promotion(named[-1])
            is_champion = named[-1] == numbers[-1]
            return Standing(
                version,
                "champion" if is_champion else "promoted before",
                newest.reason,
                newest.promoted_at_ms,
                promotions=tuple(named),
            )
        rejection = self.rejection(version)
        if rejection is not None:
            return Standing(
                version, "rejected", rejection.reason, rejection.rejected_at_ms, rejection.metrics
            )
        self.manifest(version)
        return Standing(version, "published")

    def attach(self, version: str, folder: Path, name: str = "report") -> None:
        """Put an evaluation report beside a version, in place of one of the same name; see model.reports."""
        self.manifest(version)
        reports.attach(self._storage, version, folder, name)

    def reports(self, version: str) -> list[str]:
        """Return the names of the reports beside a version, sorted."""
        return reports.names(self._storage, version)

    def fetch_report(self, version: str, folder: Path, name: str = "report") -> Path:
        """Copy a report into a folder; raises ModelMissing or ModelCorrupt."""
        return reports.fetch(self._storage, version, name, folder)

    # --- pins -------------------------------------------------------------------------------------------

    def pin(self, version: str, reason: str = "") -> None:
        """Keep a version whatever is pruned; a first reason stands. Raises ModelMissing if there is none."""
        self.manifest(version)
        content = json.dumps({"version": version, "pinned_at_ms": self._now_ms(), "reason": reason}, indent=2)
        with suppress(FileExistsError):
            self._storage.create(_pin_path(version), (content + "\n").encode())

    def unpin(self, version: str) -> None:
        """Let a version go when its time has come; does nothing if it is not pinned."""
        self._storage.remove(_pin_path(version))

    def pins(self) -> list[str]:
        """Return the versions that are pinned, sorted."""
        names = self._storage.names("pins")
        return sorted(name.removesuffix(".json") for name in names if is_version(name.removesuffix(".json")))

    # --- files ------------------------------------------------------------------------------------------

    def _place(self, folder: Path, manifest: Manifest) -> None:
        """Write a version's files and its manifest; raises FileExistsError if it is there by then."""
        target = _version_path(manifest.version)
        if self._storage.is_local:
            files = {name: folder / name for name in manifest.files}
            self._storage.place(files, {MANIFEST_FILE: manifest.to_json()}, target, MANIFEST_FILE)
            return
        listed = "\n".join(f"{name} {digest}" for name, digest in sorted(manifest.files.items()))
        own = replace(manifest, folder=hashlib.sha256(listed.encode()).hexdigest()[:12])
        for name in own.files:
            self._storage.put(folder / name, f"{target}/{own.folder}/{name}")
        self._storage.create(f"{target}/{MANIFEST_FILE}", own.to_json().encode())

    def _names(self, number: int, version: str) -> bool:
        try:
            return self.promotion(number).version == version
        except ModelCorrupt:
            return False

    def _replaces(self, number: int, champion: str) -> bool:
        """Whether a promotion put a challenger in a champion's place; one that cannot be read counts."""
        try:
            promotion = self.promotion(number)
        except ModelCorrupt:
            return True
        return promotion.back_to is None and promotion.version != champion

    def _lost_to(self, numbers: Sequence[int], version: str) -> bool:
        """Say whether a version was rejected after a comparison with a champion of these promotions."""
        try:
            rejection = self.rejection(version)
        except ModelCorrupt:
            return True
        return rejection is not None and rejection.metrics.get(CHAMPION_PROMOTION) in numbers

    def _number(self, number: int, promotion: Promotion) -> bool:
        """Give a promotion its number; False if that was taken."""
        path, content = _promotion_path(number), promotion.to_json().encode()
        try:
            self._storage.create(path, content)
        except FileExistsError:
            # The answer to our own first try may have been lost, and the client may have tried again.
            return self._storage.read(path) == content
        return True


def _version_path(version: str) -> str:
    return f"versions/{check_version(version)}"


def _promotion_path(number: int) -> str:
    return f"promotions/{number:06d}.json"


def _pin_path(version: str) -> str:
    return f"pins/{check_version(version)}.json"


def _rejection_path(version: str) -> str:
    return f"rejections/{check_version(version)}.json"
