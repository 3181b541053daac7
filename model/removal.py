"""Removal of old versions and of incomplete copies from a registry.

Safe while trainers publish and workers fetch: versions created, promoted or champion within the grace period are kept,
and files written within it do not count as incomplete copies. Promoting an old version by hand while it is being
removed raises ModelMissing; promote another version then.
"""

import time
from collections.abc import Callable, Collection

from model.errors import PromotionConflict
from model.manifest import MANIFEST_FILE, check_version, is_version
from model.pruning import VersionAge, reasons_to_keep, removable
from model.registry import ModelRegistry

GRACE_S = 86_400.0


class Removal:
    """Removal of files from one registry. now_s: returns the time in epoch seconds."""

    def __init__(self, registry: ModelRegistry, *, now_s: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._now_s = now_s

    def prunable(
        self, keep: int, grace_s: float = GRACE_S, pinned: Collection[str] = ()
    ) -> tuple[list[str], dict[str, str]]:
        """Return the versions that may be removed, oldest first, and the reason to keep each other version.

        keep: the number of newest versions to keep. grace_s: the grace period in seconds. pinned: versions to keep in
        addition to those of ModelRegistry.pin().
        Raises ModelCorrupt if a manifest or a promotion is unreadable, because the versions in use are then unknown.
        """
        registry = self._registry
        manifests = [registry.manifest(version) for version in registry.versions()]
        ages = [VersionAge(one.version, one.created_at_ms, one.parent) for one in manifests]
        since_ms = round(1000 * (self._now_s() - grace_s))
        kept = reasons_to_keep(
            ages, registry.history(), {*registry.pins(), *pinned}, keep=keep, in_use_since_ms=since_ms
        )
        return removable(ages, kept), kept

    def size_bytes(self, version: str) -> int:
        """Return the size of a version and its reports."""
        return sum(self._storage.size_bytes(folder) for folder in _folders(version))

    def remove(self, version: str) -> None:
        """Remove a version and its reports, but not its promotions and its rejection.

        Raises PromotionConflict if it is the champion.
        """
        if self._registry.champion() == version:
            raise PromotionConflict(f"removing {version}: it is the champion")
        files, reports = _folders(version)
        self._storage.remove(files, first=MANIFEST_FILE)
        self._storage.remove(reports)

    def remove_incomplete(self, grace_s: float = GRACE_S) -> int:
        """Remove files of publishes and removals interrupted more than grace_s ago; return their size in bytes."""
        before_s = self._now_s() - grace_s
        removed_bytes = self._storage.remove_incomplete(before_s)
        for name in self._storage.names("versions"):
            if not is_version(name) or self._registry.exists(name):
                continue
            folder = _folders(name)[0]
            if self._storage.changed_at_s(folder) < before_s:
                removed_bytes += self._storage.size_bytes(folder)
                self._storage.remove(folder)
        return removed_bytes


def _folders(version: str) -> tuple[str, str]:
    return f"versions/{check_version(version)}", f"reports/{version}"
