"""The model registry: a folder accessed through fsspec, on a local disk or in an object store.

    versions/<version>/           a checkpoint, its tokenizer and manifest.json; written atomically or manifest last
    promotions/000017.json        created exclusively; the highest number names the champion
    rejections/<version>.json     created exclusively; the reason why a version must not be promoted
    pins/<version>.json           the reason why a version must not be pruned
    reports/<version>/<name>/     an evaluation report, see model.reports

Storage has no compare-and-swap, but it can create a file exclusively (model.storage). Two concurrent promotions
therefore get different numbers, and a promotion with an expected champion succeeds only if the champion is unchanged.
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
from model.verdicts import CHAMPION_PROMOTION, ChallengeCount, Rejection, VersionStatus

__all__ = ["ModelRegistry", "Promotion", "VersionStatus"]

_PROMOTION = re.compile(r"(\d{6,})\.json")
_PROMOTION_TRIES = 100


def _now_ms() -> int:
    return int(time.time() * 1000)


class ModelRegistry:
    """The versions and promotions at one address.

    address: a folder, or any fsspec URL such as s3://bucket/registry.
    now_ms: returns the timestamp of new promotions. Their order is that of their numbers, never of their timestamps.
    """

    def __init__(self, address: str | Path, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self._storage = Storage(address)
        self._now_ms = now_ms

    @property
    def storage(self) -> Storage:
        """The registry's files, for model.removal."""
        return self._storage

    # --- versions ---------------------------------------------------------------------------------------

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Copy a checkpoint folder into the registry, with the SHA-256 of every file; return its version.

        On a local disk the version appears atomically with all its files. In an object store the files are written to
        a subfolder named after their hashes, and the manifest, which names the subfolder, is written last; a version
        without a manifest does not exist. An interrupted publish is therefore invisible and can be repeated, and
        concurrent publishes do not touch each other's files. Publishing the same files under the same version again
        changes nothing.
        Raises ModelMissing if the folder has no files, ModelCorrupt if the version exists with other files.
        """
        hashes = {name: sha256_of(folder / name) for name in files_of(folder)}
        if not hashes:
            raise ModelMissing(f"nothing to publish in {folder}")
        if not self.exists(manifest.version):
            # Suppressed: the same version may have been published concurrently.
            with suppress(FileExistsError):
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
        """Return whether a version exists and is complete."""
        return self._storage.exists(f"{_version_path(version)}/{MANIFEST_FILE}")

    def manifest(self, version: str) -> Manifest:
        """Read a version's manifest. Raises ModelMissing, or ModelCorrupt if it is unreadable."""
        path = f"{_version_path(version)}/{MANIFEST_FILE}"
        try:
            text = self._storage.read(path)
        except FileNotFoundError:
            known = ", ".join(self.versions()[-5:]) or "none"
            raise ModelMissing(
                f"no version {version!r} in {self._storage.root}; the last versions are: {known}"
            ) from None
        manifest = Manifest.from_json(text, f"{self._storage.root}/{path}")
        if manifest.version != version:
            raise ModelCorrupt(f"{path} is the manifest of {manifest.version!r}")
        return manifest

    def load(self, version: str, **options: Unpack[LoadOptions]) -> Model:
        """Fetch a version, verify every hash and load it into memory.

        The check is made on a private copy, so the files cannot change between the check and the loading.
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
                raise ModelIncompatible(f"version {version}: file name {name!r} points outside its folder")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # Suppressed: verify() reports all missing files.
            with suppress(FileNotFoundError):
                self._storage.fetch(f"{_version_path(version)}/{path}", folder / name)
        manifest.verify(folder)
        return folder

    # --- promotions -------------------------------------------------------------------------------------

    def promote(self, version: str, *, reason: str = "", expected: str | EllipsisType | None = ...) -> int:
        """Make a version the champion; return the promotion's number.

        expected: the champion on which the decision is based, None if there is none yet; by default any champion.
        Raises ModelMissing if the version does not exist or was removed concurrently, PromotionConflict if the
        champion is not the expected one or if the next number was always taken.
        """
        self.manifest(version)
        promotion = Promotion(version, self._now_ms(), reason, id=uuid.uuid4().hex)
        for _ in range(_PROMOTION_TRIES):
            number = max(self.promotions(), default=0)
            if expected is not ...:
                champion = self.promotion(number).version if number else None
                if champion != expected:
                    raise PromotionConflict(
                        f"promoting {version}: the champion is now {champion}, not {expected}; compare with it"
                    )
            if self._number(number + 1, promotion):
                if not self.exists(version):
                    raise ModelMissing(
                        f"promotion {number + 1} names {version}, which was removed concurrently: workers reject it "
                        "and keep the previous model; promote another version"
                    )
                return number + 1
        raise PromotionConflict(
            f"promoting {version}: concurrent promotions took the next number {_PROMOTION_TRIES} times"
        )

    def rollback(self, *, reason: str) -> str:
        """Return to the previous champion; return its version.

        A rollback is itself a promotion, with its own number. A second rollback goes back one more champion. After a
        new promotion, a rollback returns to the version that the promotion replaced. If the newest promotion is
        unreadable, the rollback revokes it.
        Raises ModelMissing if there is no previous champion, ModelCorrupt if an older promotion is unreadable,
        PromotionConflict if another promotion happens concurrently; check the new champion before you retry.
        """
        numbers = self.promotions()
        if not numbers:
            raise ModelMissing(f"nothing to roll back in {self._storage.root}: no version was promoted yet")
        stack = in_force([(number, self.promotion(number)) for number in numbers[:-1]])
        with suppress(ModelCorrupt):
            newest = [(number, self.promotion(number)) for number in numbers]
            stack = in_force(newest)[:-1]
        if not stack:
            raise ModelMissing(
                f"nothing to roll back to in {self._storage.root}: there is no previous champion"
            )
        back_to, version = stack[-1]
        self.manifest(version)
        rollback = Promotion(version, self._now_ms(), reason, back_to, uuid.uuid4().hex)
        if not self._number(numbers[-1] + 1, rollback):
            raise PromotionConflict(f"rolling back to {version}: another promotion happened concurrently")
        return version

    def champion(self) -> str | None:
        """Return the champion's version, or None before the first promotion.

        Raises ModelCorrupt if the highest promotion is unreadable.
        """
        number = max(self.promotions(), default=0)
        return self.promotion(number).version if number else None

    def promotions(self) -> list[int]:
        """Return the numbers of all promotions, ascending."""
        names = self._storage.names("promotions")
        return sorted(int(match[1]) for match in map(_PROMOTION.fullmatch, names) if match)

    def promotion(self, number: int) -> Promotion:
        """Read one promotion. Raises ModelCorrupt if it is unreadable, or fsspec's error if the storage fails."""
        path = _promotion_path(number)
        try:
            return Promotion.from_json(self._storage.read(path))
        except (FileNotFoundError, ValueError, TypeError) as exc:
            raise ModelCorrupt(
                f"promotion {self._storage.root}/{path} is unreadable: {exc!r}; roll back or promote again"
            ) from exc

    def history(self) -> list[tuple[int, Promotion]]:
        """Return all promotions with their numbers, ascending. Raises ModelCorrupt like promotion()."""
        return [(number, self.promotion(number)) for number in self.promotions()]

    # --- verdicts and reports ---------------------------------------------------------------------------

    def reject(self, version: str, reason: str, metrics: Mapping[str, float] | None = None) -> None:
        """Record why a version must not be promoted. The first recorded reason is kept.

        The version is not removed, and a user can still promote it. It need not exist, because training may have
        failed. An unreadable promotion is ignored: if it names this version, it takes precedence over the rejection.
        Raises PromotionConflict if the version was promoted before: roll back instead.
        """
        check_version(version)
        if any(self._names(number, version) for number in self.promotions()):
            raise PromotionConflict(f"rejecting {version}: it was promoted before; roll back instead")
        rejection = Rejection(version, self._now_ms(), reason, dict(metrics or {}))
        with suppress(FileExistsError):
            self._storage.create(_rejection_path(version), rejection.to_json().encode())

    def rejections(self) -> list[str]:
        """Return all rejected versions, complete or not, sorted."""
        names = self._storage.names("rejections")
        return sorted(name.removesuffix(".json") for name in names if is_version(name))

    def rejection(self, version: str) -> Rejection | None:
        """Return a version's rejection, or None. Raises ModelCorrupt if it is unreadable."""
        path = _rejection_path(version)
        try:
            return Rejection.from_json(self._storage.read(path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise ModelCorrupt(f"rejection {self._storage.root}/{path} is unreadable: {exc!r}") from exc

    def challenged(self, champion: str) -> ChallengeCount:
        """Count the challengers of a champion that were rejected or that replaced it, over all its promotions.

        A replacement matters once a rollback has made the version champion again.

        An unreadable promotion is ignored when the champion's promotions are collected. An unreadable rejection
        counts, so that it neither blocks the gate nor makes it more lenient.
        Raises ModelMissing if the champion was never promoted.
        """
        numbers = [number for number in self.promotions() if self._names(number, champion)]
        if not numbers:
            raise ModelMissing(f"version {champion} was never promoted in {self._storage.root}")
        existing = set(self.promotions())
        won = sum(number + 1 in existing and self._replaces(number + 1, champion) for number in numbers)
        lost = sum(self._lost_to(numbers, version) for version in self.rejections())
        return ChallengeCount(numbers[-1], won + lost)

    def verdict(self, version: str) -> VersionStatus:
        """Return a version's status. A promotion takes precedence over a rejection.

        An unreadable promotion is ignored, so that an old one does not block all later requests.
        Raises ModelMissing if the version neither exists nor was rejected.
        """
        numbers = self.promotions()
        named = [number for number in numbers if self._names(number, version)]
        if named:
            newest = self.promotion(named[-1])
            is_champion = named[-1] == numbers[-1]
            return VersionStatus(
                version,
                "champion" if is_champion else "promoted before",
                newest.reason,
                newest.promoted_at_ms,
                promotions=tuple(named),
            )
        rejection = self.rejection(version)
        if rejection is not None:
            return VersionStatus(
                version, "rejected", rejection.reason, rejection.rejected_at_ms, rejection.metrics
            )
        self.manifest(version)
        return VersionStatus(version, "published")

    def attach(self, version: str, folder: Path, name: str = "report") -> None:
        """Store an evaluation report of a version, replacing one of the same name; see model.reports."""
        self.manifest(version)
        reports.attach(self._storage, version, folder, name)

    def reports(self, version: str) -> list[str]:
        """Return the names of a version's reports, sorted."""
        return reports.names(self._storage, version)

    def fetch_report(self, version: str, folder: Path, name: str = "report") -> Path:
        """Copy a report into a folder. Raises ModelMissing or ModelCorrupt."""
        return reports.fetch(self._storage, version, name, folder)

    # --- pins -------------------------------------------------------------------------------------------

    def pin(self, version: str, reason: str = "") -> None:
        """Exclude a version from pruning. The first reason is kept. Raises ModelMissing if it does not exist."""
        self.manifest(version)
        content = json.dumps({"version": version, "pinned_at_ms": self._now_ms(), "reason": reason}, indent=2)
        with suppress(FileExistsError):
            self._storage.create(_pin_path(version), (content + "\n").encode())

    def unpin(self, version: str) -> None:
        """Allow a version to be pruned. Does nothing if it is not pinned."""
        self._storage.remove(_pin_path(version))

    def pins(self) -> list[str]:
        """Return the pinned versions, sorted."""
        names = self._storage.names("pins")
        return sorted(name.removesuffix(".json") for name in names if is_version(name.removesuffix(".json")))

    # --- files ------------------------------------------------------------------------------------------

    def _place(self, folder: Path, manifest: Manifest) -> None:
        """Write a version's files and its manifest. Raises FileExistsError if the version exists."""
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
        """Return whether a promotion replaced a champion by a challenger; an unreadable one counts."""
        try:
            promotion = self.promotion(number)
        except ModelCorrupt:
            return True
        return promotion.back_to is None and promotion.version != champion

    def _lost_to(self, numbers: Sequence[int], version: str) -> bool:
        """Return whether a version was rejected after a comparison with the champion of one of these promotions."""
        try:
            rejection = self.rejection(version)
        except ModelCorrupt:
            return True
        return rejection is not None and rejection.metrics.get(CHAMPION_PROMOTION) in numbers

    def _number(self, number: int, promotion: Promotion) -> bool:
        """Write a promotion under a number; return False if the number is taken."""
        path, content = _promotion_path(number), promotion.to_json().encode()
        try:
            self._storage.create(path, content)
        except FileExistsError:
            # The client may have retried its own successful write after a lost response.
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
