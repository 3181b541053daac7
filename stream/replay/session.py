"""A replay put together from the settings: what it wants, where it reads and writes, and its run in this process."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.device import choose_device, choose_dtype, dtype_name
from model.loading import Model
from model.scorer import MicroBatcher
from schemas.records import DeadLetter, InfluenceScore, LabeledExample
from schemas.wire import Codec
from stream.assembly import make_labels, make_processor, packing_for
from stream.exactly_once.kafka.store import PartitionStore, StoreMemory
from stream.exactly_once.units.processor import Scorer
from stream.labels.labelling import Labels
from stream.processor import ScoringProcessor
from stream.replay.batches import Parts
from stream.replay.committer import files_of
from stream.replay.errors import PlanError
from stream.replay.folder import ReplayFolder
from stream.replay.journal import Journal
from stream.replay.kafka_errors import kafka_errors
from stream.replay.membership import Membership
from stream.replay.opening import Inputs, open_partition
from stream.replay.outputs import AsRecords, Outputs, TopicNames, TopicOutput
from stream.replay.parquet import ParquetFolder
from stream.replay.partition import PartitionReplay
from stream.replay.plan import Progress, ReplayPlan
from stream.replay.planning import Planner, Wanted
from stream.replay.ranges import Bound
from stream.replay.runner import ReplayRunner, Report
from stream.replay.state import ReplayState
from stream.settings import MEBIBYTE, Settings
from stream.wire import codec_for, resolver_for

_TIMEOUT_S = 60.0
_RULES_OF_LABELS = 2  # raised when the rules change: one replay must not mix two
_IN_FLIGHT_TEXTS = {"cpu": 1_024, "cuda": 32_768}  # on a CPU some ten seconds of work
_LOOK_AHEAD = {"cpu": 1_024, "cuda": 8_192}


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for. topic, parquet: where to, at least one. model_version: None is the champion.

    warm_up_ms: how much before the range is read for the state; None is all there is.
    """

    replay_id: str
    start: Bound
    end: Bound
    topic: str | None
    parquet: Path | None
    model_version: str | None = None
    with_labels: bool = False
    warm_up_ms: int | None = None

    @property
    def outputs(self) -> str:
        """Return the kinds of output and the topic; not the folder, which machines may know by other names."""
        kinds = [f"topic {self.topic}"] if self.topic else []
        return " and ".join([*kinds, *(["parquet"] if self.parquet else [])])


class ReplaySession:
    """One process's part in a replay."""

    def __init__(self, settings: Settings, request: Request) -> None:
        self.settings = settings
        self.request = request
        self.group_id = f"{settings.app_id}-replay-{request.replay_id}"
        self.folder = ReplayFolder(settings.state_dir / "replay" / request.replay_id)
        topics = settings.topics
        self.inputs = Inputs(
            settings.kafka.client_config(),
            self.group_id,
            topics.events,
            topics.outcomes,
            topics.scores,
            _TIMEOUT_S,
        )
        self._score_codec: Codec[InfluenceScore] = codec_for(InfluenceScore, topics.scores, settings.wire)

    # --- the plan ---------------------------------------------------------------------------------------

    @kafka_errors
    def standing(self, partitions: int) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        """Return the plan under this id and how far it is, if there is one. partitions: of the events.

        Raises PlanError if it does not fit what is asked for now.
        """
        journal = self._journal(partitions)
        try:
            standing = journal.look()
        finally:
            journal.close()
        if standing is not None:
            self.check(standing[0])
        return standing

    def check(self, plan: ReplayPlan) -> None:
        """Raise PlanError if a plan that was begun is not what is asked for now."""
        request = self.request
        asked = {
            "model version": (plan.model_version, request.model_version or plan.model_version),
            "output": (plan.outputs, request.outputs),
            "labels": (plan.with_labels, request.with_labels),
            "settings that decide what a text says, or dtype": (plan.settings, self.settings_digest()),
        }
        differ = [f"{what} ({began}, now {now})" for what, (began, now) in asked.items() if began != now]
        if differ:
            raise PlanError(
                f"Replay {request.replay_id!r} was begun with another {', another '.join(differ)}. Go on with what it "
                "was begun with, or give this one another id (--id)."
            )
        with Planner(self.inputs, self._score_codec.decode) as planner:
            ids = planner.topic_ids(list(plan.topic_ids))
        again = [topic for topic, topic_id in plan.topic_ids.items() if ids[topic] != topic_id]
        if again:
            raise PlanError(
                f"Made again since replay {request.replay_id!r} was begun: {', '.join(again)}. Its offsets mean "
                "something else now. Begin a new replay with another id."
            )

    @kafka_errors
    def plan(self, model_version: str) -> ReplayPlan:
        """Plan what is asked for; nothing is written. Raises RangeError, ReplayError, StartError."""
        labels = self.settings.labels
        wanted = Wanted(
            self.request.replay_id,
            model_version,
            self.request.start,
            self.request.end,
            self.request.warm_up_ms,
            self.request.with_labels,
            labels.outcomes,
            round((labels.horizon_s + labels.grace_s) * 1000),
            self.request.outputs,
            self.settings_digest(),
        )
        with Planner(self.inputs, self._score_codec.decode) as planner:
            return planner.plan(wanted)

    def check_output(self, plan: ReplayPlan, progress: Mapping[int, Progress]) -> None:
        """Raise OutputError unless the files of the partitions that are done are all there."""
        parquet = self.parquet()
        for number, one in progress.items():
            if parquet is not None and one.done:
                parquet.check(number, plan.partitions[number].scored, files_of(one))

    @kafka_errors
    def begin(self, plan: ReplayPlan, partitions: int) -> ReplayPlan:
        """Make a plan the one that stands, unless another machine was first; return that."""
        journal = self._journal(partitions)
        try:
            standing, _ = journal.begin(plan, self.settings.kafka.connect_timeout_s)
        finally:
            journal.close()
        self.check(standing)
        return standing

    def settings_digest(self) -> str:
        """Return a digest of what decides what a text says, which events are refused, labels, and the dtype here."""
        settings = self.settings
        deciding: list[Any] = [
            _RULES_OF_LABELS,
            settings.window.model_dump(mode="json"),
            settings.text.max_item_text_chars,
            settings.labels.model_dump(mode="json", exclude={"ticks"}),  # a replay writes none
            settings.time.max_ahead_s,
            settings.wire.max_record_bytes,
            dtype_name(choose_dtype(settings.model.dtype, choose_device(settings.model.device))),
        ]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]

    def _journal(self, partitions: int) -> Journal:
        return Journal(
            self.inputs.client_config,
            self.group_id,
            self.request.replay_id,
            self.inputs.events,
            partitions,
        )

    # --- the run ----------------------------------------------------------------------------------------

    def labels(self) -> Labels | None:
        """Make the label join as it was live; examples only if they are asked for."""
        if not self.settings.labels.wanted:
            return None
        return make_labels(self.settings, AsRecords(), examples=self.request.with_labels)

    def processor(self, model: Model, labels: Labels | None) -> ScoringProcessor:
        """Make the processor; what it says are records."""
        return make_processor(self.settings, model, labels, AsRecords())

    def parquet(self) -> ParquetFolder | None:
        """Return the folder of Parquet files, if one is asked for."""
        return None if self.request.parquet is None else ParquetFolder(self.request.parquet)

    def outputs(self) -> Outputs:
        """Return where scores go, ready to be written.

        Raises ContractError for a schema that is not registered, RegistryUnavailable.
        """
        topic = None if self.request.topic is None else self._topic_output(self.request.topic)
        return Outputs(topic, self.parquet())

    def _topic_output(self, topic: str) -> TopicOutput:
        # Under the subjects of the live topics: the same schemas, and nobody has to register them again.
        live, wire = self.settings.topics, self.settings.wire
        kinds: dict[type[Any], str] = {InfluenceScore: live.scores, DeadLetter: live.dead_letters}
        if self.request.with_labels:
            kinds[LabeledExample] = live.examples
        resolver = resolver_for(wire)
        codecs = {kind: codec_for(kind, name, wire, resolver) for kind, name in kinds.items()}
        for codec in codecs.values():
            codec.prepare_write()  # a schema that is not registered shows now, not at the first commit
        return TopicOutput(TopicNames(topic), codecs)

    def batcher(self, model: Model, threads: int | None = None) -> MicroBatcher:
        """Start the micro-batcher with a long look-ahead: nobody waits for a single text."""
        device = model.device.type
        packing = packing_for(self.settings.model, device, look_ahead=_LOOK_AHEAD.get(device, 1_024))
        return MicroBatcher(model, packing, threads=threads)

    @kafka_errors
    def run(
        self,
        plan: ReplayPlan,
        partitions: int,
        model: Model,
        scorer: Scorer,
        *,
        worker: int = 0,
        on_report: Callable[[Report], None] = lambda _: None,
        on_start: Callable[[ReplayRunner], None] = lambda _: None,
        waiting_texts: Callable[[], int] = lambda: 0,
    ) -> dict[int, Progress]:
        """Work on the replay until all of it is done; return everyone's progress.

        worker: this process's number on this machine. on_start: gets the runner, to stop it. waiting_texts: how
        many texts the scorer has and has not scored, for the reports.
        Raises ReplayError, ExactlyOnceError, ModelError, SchemaError.
        """
        settings, changed = self.settings, threading.Event()
        labels = self.labels()
        processor = self.processor(model, labels)
        at_once = settings.replay.partitions_at_once
        state = ReplayState(processor, labels, settings.memory.values_mb * MEBIBYTE // at_once)
        memory = StoreMemory(settings.memory.rocksdb_mb * MEBIBYTE)
        with ExitStack() as stack:
            stack.enter_context(self.folder.locked(worker))
            journal = self._journal(partitions)
            stack.callback(journal.close)
            commits = stack.enter_context(ThreadPoolExecutor(1, "replay-commit"))
            parts = Parts(
                plan=plan,
                topics=(self.inputs.events, self.inputs.outcomes),
                processor=processor,
                state=state,
                model=model,
                scorer=scorer,
                outputs=self.outputs(),
                identity=journal.identity,
                commits=commits,
                batch_records=settings.replay.batch_records,
                batch_bytes=settings.replay.batch_bytes,
                batch_s=settings.replay.batch_s,
                changed=changed.set,
            )

            def opened(partition: int) -> PartitionReplay | None:
                return open_partition(
                    parts,
                    self.inputs,
                    journal,
                    partition,
                    open_store=lambda path: PartitionStore(path, memory, at_once),
                    folder=self.folder.path,
                    decode_score=self._score_codec,
                    connect_timeout_s=settings.kafka.connect_timeout_s,
                )

            runner = ReplayRunner(
                plan,
                journal,
                opened,
                lambda on_lost: self._join(worker, on_lost),
                max_in_flight_texts=settings.replay.max_in_flight_texts
                or _IN_FLIGHT_TEXTS.get(model.device.type, 1_024),
                partitions_at_once=at_once,
                changed=changed,
                on_report=on_report,
                waiting_texts=waiting_texts,
            )
            on_start(runner)
            done = runner.run()
            if parts.outputs.parquet is not None and all(one.done for one in done.values()):
                for number in done:  # a machine that woke up late may have left some behind
                    parts.outputs.parquet.clear(number)
            return done

    def _join(self, worker: int, on_lost: Callable[[set[int]], None]) -> Membership:
        kafka = self.settings.kafka
        return Membership(
            self.inputs.client_config,
            self.group_id,
            self.inputs.events,
            instance=f"{self.folder.machine()}-{worker}",
            session_timeout_s=kafka.session_timeout_s,
            heartbeat_interval_s=kafka.heartbeat_interval_s,
            on_lost=on_lost,
        )
