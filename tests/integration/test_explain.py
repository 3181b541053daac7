"""`sway explain` beside a running worker."""

import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.registry import ModelRegistry
from schemas.records import BehaviorEvent, Outcome
from sway.cli import app
from sway.committed import committed
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway
from tests.support.late import publish_late

FILMS = ("alien", "heat", "amelie", "brazil")


def test_late_scores_are_explained_with_and_without_labels(
    sway: Sway, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelRegistry(tmp_path / "registry")
    store.promote(publish_late(store, "late", tiny_base, tmp_path / "late"))
    sway.environment["SWAY_MODEL__REGISTRY"] = str(tmp_path / "registry")
    for name, value in sway.environment.items():
        monkeypatch.setenv(name, value)
    worker = sway.create_topics(partitions=2).worker().start()
    worker.wait_until_ready()
    now_ms = int(time.time() * 1000) - 60_000
    for number, film in enumerate(FILMS):
        for user in ("ann", "bob"):
            event_id = f"{user}-{number}"
            sway.produce(BehaviorEvent(event_id, user, "watch", now_ms + number, film, film))
        sway.flush()
        sway.wait_for_answers(2 * (number + 1))
        if number < 3:
            for user in ("ann", "bob"):
                sway.produce(Outcome(f"{user}-{number}", user, float(number % 2), now_ms + number + 1))
            sway.flush()
            wait_for(lambda at_least=2 * (number + 1): len(sway.examples()) >= at_least, "examples")  # type: ignore[misc]

    def explain(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "80"})
        assert result.exit_code == 0, result.output
        return result.stdout

    for output, past in ((explain("--user", "ann"), 3), (explain("bob-2"), 2)):
        (influence,) = re.findall(r"influence +(\d\.\d+) +(\d\.\d+)", output)
        assert float(influence[0]) == pytest.approx(float(influence[1]), abs=2e-4)
        for film in FILMS[:past]:
            assert len(re.findall(rf"watch {film} .* [+-]\d\.\d{{4}} ", output)) == 1
    config, topic = {"bootstrap.servers": sway.topics.bootstrap_servers}, sway.topics.name("examples")
    whole, last = (
        [
            (message.partition(), message.offset())
            for message in committed(config, topic, group="any", newest=newest)
        ]
        for newest in (None, 3)
    )
    assert len(whole) == 6
    assert 0 < len(last) < 6
    assert set(last) < set(whole)
    assert max(whole) in last
    assert "ann-3 of ann" in explain("--user", "ann")
    unknown = CliRunner().invoke(app, ["explain", "nothing"])
    assert (unknown.exit_code, unknown.stderr.count("sway: there is no event nothing")) == (1, 1)
    assert worker.terminate() == 0
