"""Removes from a registry what nobody needs: old versions, and what interrupted copies have left.

Safe beside trainers that publish and workers that fetch: what was made, promoted or champion within the grace stays,
and files that were written within it are no remains. Who promotes an old version by hand while it is removed is told so
by the missing version; promote another then.
"""

import time
from collections.abc import Callable, Collection

from model.errors import PromotionConflict
from model.manifest import MANIFEST_FILE, check_version, is_version
from model.pruning import VersionAge, reasons_to_keep, removable
from model.registry import ModelRegistry

GRACE_S = 86_400.0


class Removal:
    """Removes files of one registry. now_s: epoch seconds."""

    def __init__(self, registry: ModelRegistry, *, now_s: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._now_s = now_s

    def prunable(
        self, keep: int, grace_s: float = GRACE_S, pinned: Collection[str] = ()
    ) -> tuple[list[str], dict[str, str]]:
        """Return the versions that may go, the oldest first, and why each other one stays.

        keep: so many of the newest stay. pinned: beside those of ModelRegistry.pin().
        Raises ModelCorrupt if a manifest or a promotion cannot be read: then nobody knows what is in use.
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
        """Return what a version and its reports take."""
        return sum(self._storage.size_bytes(folder) for folder in _folders(version))

    def remove(self, version: str) -> None:
        """Remove a version and its reports; its promotions and its rejection stay.

        Raises PromotionConflict if it is the champion by now.
        """
        if self._registry.champion() == version:
            raise PromotionConflict(f"removing {version}: it is the champion")
        files, reports = _folders(version)
        self._storage.remove(files, first=MANIFEST_FILE)
        self._storage.remove(reports)

    def remove_remains(self, grace_s: float = GRACE_S) -> int:
        """Remove what interrupted publishes and removals have left for longer than this; return its bytes."""
        before_s = self._now_s() - grace_s
        removed_bytes = self._storage.remove_remains(before_s)
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
