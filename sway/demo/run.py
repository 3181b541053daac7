"""The demo: set-up, the run with its live view, and the summary."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from model.registry import ModelRegistry
from schemas.records import BehaviorEvent, Outcome
from schemas.topics import changelog_of
from schemas.wire import Codec
from stream.scoring.processor import WINDOWS
from stream.settings import KafkaSettings, Settings
from sway.cluster import Cluster
from sway.demo import movielens
from sway.demo.bad_records import bad_records
from sway.demo.feeder import DemoFailedError, Feeder
from sway.demo.first_model import PARTITIONS, copy_version, default_registry, fit_or_find
from sway.demo.ledger import Ledger
from sway.demo.loop import PROMOTED, REJECTED, Loop, LoopReader
from sway.demo.rivals import rivals
from sway.demo.texts import read_windows, scored_texts
from sway.demo.view import LiveView, rivals_table, summary_table, texts_table
from sway.demo.worker_process import ChildProcess, WorkerProcess
from sway.embedded import EmbeddedKafka
from sway.embedded.ports import free_port
from sway.progress import show_progress
from sway.topic_plan import plan_topics

TRAINED_ON = 10_000
_TEXTS = 10
_IDLE_TIMEOUT_S = 90.0
_SETTLE_S = 1.0
_READY_TIMEOUT_S = 120.0
_VIEW_INTERVAL_S = 0.5
_LINE_INTERVAL_S = 10.0
_HANDOVER_EXAMPLES = 4_000
_GATE_SHARE = 0.3
# The gate has about twenty users here, where the defaults require 50 users and a confidence of .95. The demo shows the
# loop, but its promotion does not prove that the challenger is better.
_GATE_CONFIDENCE = 0.8
_GATE_MIN_USERS = 5
_VERDICT_TIMEOUT_S = 300.0
_SWAP_TIMEOUT_S = 60.0
_AFTER_SWAP = 500  # the number of events that a promoted challenger scores before the demo ends
_NEWEST = 1_000  # the number of newest events on which models are compared
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of the demo.

    events: the number of events after the oldest 10,000. max_in_flight: the maximum number of records without a result.
    out: the folder of summary.json and the logs.
    """

    events: int
    max_in_flight: int
    out: Path


def run_demo(options: DemoOptions, console: Console) -> dict[str, Any]:
    """Run the demo; write and return the summary.

    It fits or loads the model, starts Kafka, a worker and a trainer, and feeds events with a live view.
    Raises DemoFailedError if a process ends or there is no progress.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    console.print("[bold]1[/] The data: MovieLens-100K, 100,000 ratings by 943 people")
    pairs = list(movielens.rated_events(movielens.fetch(), limit=TRAINED_ON + options.events + _AFTER_SWAP))
    console.print(f"[bold]2[/] The model: fitted on the oldest {TRAINED_ON:,} ratings, once")
    registry = default_registry()
    version = _fit(pairs[:TRAINED_ON], registry, console)
    console.print(f"[bold]3[/] A real Kafka of its own; model {version}")
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory(prefix="sway-demo-") as scratch:
        own = copy_version(registry, version, Path(scratch) / "registry")
        settings = _settings(kafka.bootstrap_servers)
        Cluster(settings.kafka).create(plan_topics(settings.topics, PARTITIONS, history=True), None)
        ledger = Ledger()
        for event, outcome in pairs[:TRAINED_ON]:
            ledger.learn(event, outcome)  # fit the baselines on the model's training data
        console.print(
            "[bold]4[/] A worker process scores what a feeder produces; each rating follows its score.\n"
            f"  After {_HANDOVER_EXAMPLES:,} labels a trainer process fine-tunes a challenger beside it"
        )
        port = free_port()
        worker = WorkerProcess(
            _worker_settings(kafka.bootstrap_servers, own, Path(scratch) / "state", port),
            port,
            options.out / "worker.log",
        )
        trainer = ChildProcess(
            "trainer",
            _trainer_settings(kafka.bootstrap_servers, own, Path(scratch) / "trainer"),
            options.out / "trainer.log",
        )
        feeder, loop = Feeder(settings, ledger, PARTITIONS), LoopReader(settings, PARTITIONS)
        started_s = time.monotonic()
        with worker:
            worker.wait_until_ready(_READY_TIMEOUT_S)
            with trainer:
                live = _Live(feeder, loop, ledger, worker, trainer, options, console)
                live.feed(pairs[TRAINED_ON : TRAINED_ON + options.events], with_bad_records=True)
                live.await_verdict(pairs[TRAINED_ON + options.events :])
            feeder.keep_reading(_SETTLE_S)
        loop.read_to_the_end()  # a stopping worker commits its last results
        feeder.close()
        loop.close()
        model = ModelRegistry(own).load(version)
        windows = read_windows(settings, changelog_of(settings.app_id, WINDOWS), model.tokenizer)
    console.print(f"[bold]5[/] Two others on the newest {_NEWEST:,} of these events")
    summary = _summary(ledger, loop.loop, version, started_s, live.paused_s)
    summary |= _comparison(ledger, pairs, live.cpu_s)
    console.print(texts_table(scored_texts(ledger.scored_events, windows, model.tokenizer, _TEXTS)))
    console.print(summary_table(summary))
    console.print(rivals_table(summary))
    console.print("dead letters: " + ", ".join(f"{name} ×{n}" for name, n in sorted(ledger.reasons.items())))
    for verdict in loop.loop.verdicts.values():
        console.print(f"model {verdict.version} {verdict.reason}")
    path = options.out / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {path}")
    return summary


def _fit(pairs: Sequence[tuple[BehaviorEvent, Outcome]], registry: Path, console: Console) -> str:
    with show_progress(console) as show:
        return fit_or_find(pairs, registry, show)


class _Live:
    """The running demo: feeds events and shows the results."""

    def __init__(
        self,
        feeder: Feeder,
        loop: LoopReader,
        ledger: Ledger,
        worker: WorkerProcess,
        trainer: ChildProcess,
        options: DemoOptions,
        console: Console,
    ) -> None:
        self._feeder = feeder
        self._loop = loop
        self._ledger = ledger
        self._worker = worker
        self._trainer = trainer
        self._options = options
        self._console = console
        self.paused_s = 0.0  # the time between the two runs of events
        self.cpu_s = 0.0  # the worker's CPU time during the runs

    def feed(self, pairs: Sequence[tuple[BehaviorEvent, Outcome]], *, with_bad_records: bool = False) -> None:
        """Feed events until each has a result."""
        bad = bad_records(Codec(BehaviorEvent), pairs[0][0].occurred_at) if with_bad_records else []
        view = LiveView(self._ledger.finished + len(pairs) + len(bad), self._ledger, self._loop.loop)
        console = self._console
        live: AbstractContextManager[Any] = (
            Live(view, console=console, refresh_per_second=4) if console.is_terminal else nullcontext()
        )
        before_s = self._worker.cpu_s
        with live:
            self._feeder.run(
                pairs,
                bad,
                max_in_flight=self._options.max_in_flight,
                idle_timeout_s=_IDLE_TIMEOUT_S,
                on_tick=self._ticker(view),
            )
        self.cpu_s += self._worker.cpu_s - before_s

    def await_verdict(self, more: Sequence[tuple[BehaviorEvent, Outcome]]) -> None:
        """Wait for the challenger's verdict. Feed more events if it is promoted and has scored too few."""
        loop = self._loop.loop
        if not loop.labeled >= _HANDOVER_EXAMPLES:
            self._console.print(f"  {loop.labeled} labels are too few for a hand-over")
            return
        self._console.print("  every event has ended; waiting for the last verdict")
        self._wait(
            lambda: loop.count(PROMOTED) > 0 or len(loop.verdicts) == len(loop.handovers),
            "verdict on the challenger",
            _VERDICT_TIMEOUT_S,
        )
        verdict = next((one for one in loop.verdicts.values() if one.event == PROMOTED), None)
        if verdict is None:
            return
        self._wait(
            lambda: self._worker.metrics().get("sway_model_swaps_total", 0) >= 1,
            "swap of the worker's model",
            _SWAP_TIMEOUT_S,
        )
        missing = _AFTER_SWAP - self._ledger.scored_by(verdict.version)
        if missing > 0:
            self.paused_s = time.monotonic() - self._ledger.last_score_s
            self._console.print(f"  the new champion scores {missing} events more")
            self.feed(more[:missing])

    def _wait(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            self._check()
            self._feeder.keep_reading(_VIEW_INTERVAL_S)
            self._loop.read()
            if time.monotonic() > deadline_s:
                raise DemoFailedError(
                    f"no {what} within {timeout_s:g} s; see the logs in {self._options.out}"
                )

    def _check(self) -> None:
        self._worker.check()
        self._trainer.check()

    def _ticker(self, view: LiveView) -> Callable[[], None]:
        shown_s = printed_s = time.monotonic()
        announced = 0

        def tick() -> None:
            nonlocal shown_s, printed_s, announced
            now_s = time.monotonic()
            if now_s - shown_s < _VIEW_INTERVAL_S:
                return
            shown_s = now_s
            self._check()
            self._loop.read()
            view.update(self._worker.metrics())
            for verdict in list(self._loop.loop.verdicts.values())[announced:]:
                announced += 1
                self._console.print(f"  challenger {verdict.version} {verdict.reason}")
            if not self._console.is_terminal and now_s - printed_s > _LINE_INTERVAL_S:
                printed_s = now_s
                self._console.print(view.line())

        return tick


def _worker_settings(bootstrap_servers: str, registry: Path, state: Path, port: int) -> Mapping[str, str]:
    """Return the worker's settings: windows for texts of 96 tokens, small units, its paths and port.

    The label horizon is long, because users return after weeks and the feeder delays some events.
    """
    return {
        "SWAY_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "SWAY_STATE_DIR": str(state),
        "SWAY_MODEL__REGISTRY": str(registry),
        "SWAY_MODEL__POLL_INTERVAL_S": "0.5",
        "SWAY_WEB__PORT": str(port),
        "SWAY_WINDOW__MAX_BYTES": "8192",
        "SWAY_UNITS__MAX_RECORDS": "32",
        "SWAY_UNITS__LINGER_S": "0.01",
        "SWAY_LABELS__HORIZON_S": str(90 * _DAY_S),
        "SWAY_LABELS__GRACE_S": str(30 * _DAY_S),
        "SWAY_HANDOVER__MIN_EXAMPLES": str(_HANDOVER_EXAMPLES),
    }


def _trainer_settings(bootstrap_servers: str, registry: Path, work: Path) -> Mapping[str, str]:
    """Return the trainer's settings: one thread, lower priority than the worker, a small gate slice."""
    return {
        "SWAY_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "SWAY_MODEL__REGISTRY": str(registry),
        "SWAY_TRAINER__WORK_DIR": str(work),
        "SWAY_TRAINER__THREADS": "1",
        "SWAY_TRAINER__NICE": "10",
        "SWAY_TRAINER__WEB_ENABLED": "false",  # unused, and its port may be taken
        "SWAY_TRAINER__VALID_SHARE": "0",
        "SWAY_TRAINER__GATE_SHARE": str(_GATE_SHARE),
        "SWAY_TRAINER__GATE_CONFIDENCE": str(_GATE_CONFIDENCE),
        "SWAY_TRAINER__GATE_MIN_USERS": str(_GATE_MIN_USERS),
        "SWAY_TRAINER__GATE_MIN_EXAMPLES": str(round(_HANDOVER_EXAMPLES * _GATE_SHARE * 0.8)),
        "OMP_NUM_THREADS": "1",
    }


def _settings(bootstrap_servers: str) -> Settings:
    # Ignores the environment, because the demo uses its own broker.
    return Settings.model_construct(kafka=KafkaSettings(bootstrap_servers=bootstrap_servers))


def _summary(ledger: Ledger, loop: Loop, version: str, started_s: float, paused_s: float) -> dict[str, Any]:
    first_s = ledger.first_score_s or started_s
    duration_s = ledger.last_score_s - first_s - paused_s
    later = [name for name in ledger.versions if name != version]
    summary = {
        "events": len(ledger.produced),
        "scores": ledger.scores,
        "dead_letters": ledger.dead_letters,
        "lost": ledger.lost,
        "duplicates": ledger.duplicates,
        "labeled": loop.labeled,
        "handovers": len(loop.handovers),
        "models_promoted": loop.count(PROMOTED),
        "models_rejected": loop.count(REJECTED),
        "swap_gap_ms": ledger.swap_gap_ms(),
        **ledger.aucs(),
        "auc_before_swap": ledger.auc_of([version]),
        "auc_after_swap": ledger.auc_of(later),
        "events_per_s": (ledger.scores - 1) / duration_s if duration_s > 0 else 0.0,
        "seconds_to_first_score": first_s - started_s,
        "latency_p50_ms": ledger.latency_ms(0.5),
        "latency_p99_ms": ledger.latency_ms(0.99),
        "model_version": ledger.versions[-1] if ledger.versions else version,
    }
    return {name: None if value != value else value for name, value in summary.items()}  # JSON has no NaN


def _comparison(
    ledger: Ledger, pairs: Sequence[tuple[BehaviorEvent, Outcome]], worker_cpu_s: float
) -> dict[str, Any]:
    """Return AUC and milliseconds of CPU per event, of Sway and of other models on the newest events.

    Sway's CPU time covers all of the worker: Kafka, state, labels and model. That of the others covers the model only.
    """
    newest = ledger.scored_events[-_NEWEST:]
    aucs = ledger.aucs(_NEWEST)
    rows = {
        "Sway, live": {"auc": aucs["auc_live"], "cpu_ms": worker_cpu_s / max(ledger.scores, 1) * 1e3},
        "item mean so far": {"auc": aucs["auc_item_mean"], "cpu_ms": None},
        "user mean so far": {"auc": aucs["auc_user_mean"], "cpu_ms": None},
    }
    found = rivals(pairs, TRAINED_ON, [one.event.event_id for one in newest])
    for name, rival in found.items():
        rows[name] = {"auc": ledger.auc_of_others(rival.y_hat), "cpu_ms": rival.cpu_s * 1e3}
    return {"newest_events": len(newest), "newest": rows}
