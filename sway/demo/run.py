"""The demo from start to end."""

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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.registry import ModelRegistry
from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from stream.processor import WINDOWS
from stream.settings import KafkaSettings, Settings
from sway import movielens
from sway.cluster import Cluster
from sway.demo.bad_records import bad_records
from sway.demo.feeder import Feeder
from sway.demo.first_model import default_registry, fit_or_find
from sway.demo.ledger import Ledger
from sway.demo.texts import read_windows, scored_texts
from sway.demo.view import LiveView, summary_table, texts_table
from sway.demo.worker_process import WorkerProcess
from sway.embedded import EmbeddedKafka
from sway.embedded.ports import free_port
from sway.topic_plan import plan_topics
from trainer.first_model import Progress as FitProgress

TRAINED_ON = 10_000
_PARTITIONS = 4
_TEXTS = 10
_IDLE_TIMEOUT_S = 90.0
_SETTLE_S = 1.0
_READY_TIMEOUT_S = 120.0
_VIEW_INTERVAL_S = 0.5
_LINE_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """events: how many after the oldest 10,000. out: where summary.json and the worker's log go."""

    events: int
    max_in_flight: int
    out: Path


def run_demo(options: DemoOptions, console: Console) -> dict[str, Any]:
    """Fit or find the model, run Kafka, a worker and the feeder, show it, write and return the summary."""
    options.out.mkdir(parents=True, exist_ok=True)
    console.print("[bold]1[/] The data: MovieLens-100K, 100,000 ratings by 943 people")
    pairs = list(movielens.rated_events(movielens.fetch(), limit=TRAINED_ON + options.events))
    console.print(f"[bold]2[/] The model: fitted on the oldest {TRAINED_ON:,} ratings, once")
    registry = default_registry()
    version = _fit(pairs[:TRAINED_ON], registry, console)
    console.print(f"[bold]3[/] A real Kafka of its own; model {version}")
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory(prefix="sway-demo-") as scratch:
        port = free_port()
        environment = _environment(kafka.bootstrap_servers, registry, Path(scratch) / "state", port)
        settings = _settings(kafka.bootstrap_servers)
        cluster = Cluster(settings.kafka)
        cluster.create(plan_topics(settings.topics, _PARTITIONS, history=True))
        ledger = Ledger()
        for event, outcome in pairs[:TRAINED_ON]:
            ledger.learn(event, outcome)  # the baselines know what the model was fitted on
        console.print(
            "[bold]4[/] A worker process scores what a feeder produces; each rating follows its score"
        )
        log = options.out / "worker.log"
        feeder = Feeder(settings, ledger, _PARTITIONS)
        started_s = time.monotonic()
        with WorkerProcess(environment, port, log) as worker:
            worker.wait_until_ready(_READY_TIMEOUT_S)
            _feed(feeder, pairs[TRAINED_ON:], options, ledger, worker, console)
            feeder.linger(_SETTLE_S)
        feeder.close()
        model = ModelRegistry(registry).load(version)
        windows = read_windows(
            settings, f"{settings.app_id}-{WINDOWS}-changelog", _PARTITIONS, model.tokenizer
        )
    summary = _summary(ledger, version, started_s)
    console.print(texts_table(scored_texts(ledger.judged, windows, model.tokenizer, _TEXTS)))
    console.print(summary_table(summary))
    console.print("dead letters: " + ", ".join(f"{name} ×{n}" for name, n in sorted(ledger.reasons.items())))
    path = options.out / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {path}")
    return summary


def _fit(pairs: Sequence[tuple[BehaviorEvent, Outcome]], registry: Path, console: Console) -> str:
    with Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        tasks: dict[str, Any] = {}

        def show(progress: FitProgress) -> None:
            task = tasks.get(progress.stage)
            if task is None:
                task = tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total)
            bars.update(task, completed=progress.done, total=progress.total)

        return fit_or_find(pairs, registry, show)


def _feed(
    feeder: Feeder,
    pairs: Sequence[tuple[BehaviorEvent, Outcome]],
    options: DemoOptions,
    ledger: Ledger,
    worker: WorkerProcess,
    console: Console,
) -> None:
    bad = bad_records(Codec(BehaviorEvent), int(time.time() * 1000))
    view = LiveView(len(pairs) + len(bad), ledger)
    live: AbstractContextManager[Any] = (
        Live(view, console=console, refresh_per_second=4) if console.is_terminal else nullcontext()
    )
    with live:
        feeder.run(
            pairs,
            bad,
            max_in_flight=options.max_in_flight,
            idle_timeout_s=_IDLE_TIMEOUT_S,
            on_tick=_ticker(view, worker, console),
        )


def _ticker(view: LiveView, worker: WorkerProcess, console: Console) -> Callable[[], None]:
    shown_s = said_s = time.monotonic()

    def tick() -> None:
        nonlocal shown_s, said_s
        now_s = time.monotonic()
        if now_s - shown_s < _VIEW_INTERVAL_S:
            return
        shown_s = now_s
        worker.check()
        view.update(worker.metrics())
        if not console.is_terminal and now_s - said_s > _LINE_INTERVAL_S:
            said_s = now_s
            console.print(view.line())

    return tick


def _environment(bootstrap_servers: str, registry: Path, state: Path, port: int) -> Mapping[str, str]:
    """The worker's settings: a window for texts of 96 tokens, small units, and what is its own."""
    return {
        "SWAY_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "SWAY_STATE_DIR": str(state),
        "SWAY_MODEL__REGISTRY": str(registry),
        "SWAY_WEB__PORT": str(port),
        "SWAY_WINDOW__MAX_BYTES": "8192",
        "SWAY_UNITS__MAX_RECORDS": "32",
        "SWAY_UNITS__LINGER_S": "0.01",
    }


def _settings(bootstrap_servers: str) -> Settings:
    # Not from the environment: the demo's topics are on the demo's own broker.
    return Settings.model_construct(kafka=KafkaSettings(bootstrap_servers=bootstrap_servers))


def _summary(ledger: Ledger, version: str, started_s: float) -> dict[str, Any]:
    first_s = ledger.first_score_s or started_s
    duration_s = ledger.last_score_s - first_s
    return {
        "events": len(ledger.produced),
        "scores": ledger.scores,
        "dead_letters": ledger.dead_letters,
        "lost": ledger.lost,
        "duplicates": ledger.duplicates,
        **ledger.aucs(),
        "events_per_s": (ledger.scores - 1) / duration_s if duration_s > 0 else 0.0,
        "seconds_to_first_score": first_s - started_s,
        "latency_p50_ms": ledger.latency_ms(0.5),
        "latency_p99_ms": ledger.latency_ms(0.99),
        "model_version": version,
    }
