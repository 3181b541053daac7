"""Replays of what a test's workers have done, in this process, with output in a folder of the test."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from model.registry import ModelRegistry
from stream.replay.plan import Progress, ReplayPlan
from stream.replay.ranges import Newest, Oldest
from stream.replay.session import ReplaySession, Request
from stream.settings import Settings
from tests.integration.workers import Sway

Place = tuple[int, int]
"""Partition and offset of an event."""


def places(rows: Iterable[dict[str, Any]]) -> dict[Place, dict[str, Any]]:
    """Rows by the event they are of, each once."""
    found: dict[Place, dict[str, Any]] = {}
    for row in rows:
        place = row["source_partition"], row["source_offset"]
        assert place not in found, f"twice: {place}"
        found[place] = row
    return found


class Replay:
    """One replay; `run` may be called again, as a person would give the same command again."""

    def __init__(self, sway: Sway, registry: Path, name: str = "again", **request: Any) -> None:
        self.folder = sway.folder / name
        self.settings = settings_of(sway, registry)
        wanted = {"start": Oldest(), "end": Newest(), "topic": None, "parquet": self.folder, **request}
        self.session = ReplaySession(self.settings, Request(name, **wanted))
        self._partitions = sway.partitions
        self._model = ModelRegistry(registry).load("tiny", dtype="fp32")

    def plan(self) -> ReplayPlan:
        """The plan, begun if it was not yet."""
        standing = self.session.standing(self._partitions)
        return standing[0] if standing else self.session.begin(self.session.plan("tiny"), self._partitions)

    def run(self, scorer: Any = None, **options: Any) -> dict[int, Progress]:
        """Run it to its end."""
        plan = self.plan()
        if scorer is not None:
            return self.session.run(plan, self._partitions, self._model, scorer, **options)
        with self.session.batcher(self._model) as batcher:
            return self.session.run(plan, self._partitions, self._model, batcher, **options)

    def rows(self, kind: str = "scores") -> list[dict[str, Any]]:
        """What its Parquet files hold."""
        if not (self.folder / kind).exists():
            return []
        found: list[dict[str, Any]] = ds.dataset(self.folder / kind, format="parquet").to_table().to_pylist()
        return found


def settings_of(sway: Sway, registry: Path, **more: Any) -> Settings:
    """The settings that the test's workers have, but for their folder."""
    topics = sway.topics
    return Settings.model_validate(
        {
            "app_id": topics.prefix,
            "state_dir": sway.folder / "replay-state",
            "kafka": {
                "bootstrap_servers": topics.bootstrap_servers,
                "session_timeout_s": 6,
                "heartbeat_interval_s": 1.5,
            },
            "topics": {"prefix": topics.prefix},
            "model": {"registry": str(registry), "device": "cpu", "dtype": "fp32"},
            **more,
        }
    )
