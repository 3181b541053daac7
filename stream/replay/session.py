"""Creates a replay from the settings: request, inputs, outputs, and its run in this process."""

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
from stream.replay.batches import ReplayContext
from stream.replay.committer import files_of
from stream.replay.errors import PlanError
from stream.replay.folder import ReplayFolder
from stream.replay.journal import Journal
from stream.replay.kafka_errors import kafka_errors
from stream.replay.membership import Membership
from stream.replay.opening import Inputs, open_partition
from stream.replay.outputs import Outputs, PassThroughEncoder, TopicNames, TopicOutput
from stream.replay.parquet import ParquetFolder
from stream.replay.partition import PartitionReplay
from stream.replay.plan import Progress, ReplayPlan
from stream.replay.planning import Planner, Wanted
from stream.replay.ranges import Bound
from stream.replay.runner import ReplayRunner, Report
from stream.replay.state import ReplayState
from stream.scoring.labels.labelling import Labels
from stream.scoring.processor import ScoringProcessor
from stream.settings import MEBIBYTE, Settings
from stream.wire import codec_for, resolver_for

_TIMEOUT_S = 60.0
_RULES_OF_LABELS = 2  # increased when the label rules change, since one replay must not mix two versions
_IN_FLIGHT_TEXTS = {"cpu": 1_024, "cuda": 32_768}  # about ten seconds of work on a CPU
_LOOK_AHEAD = {"cpu": 1_024, "cuda": 8_192}


@dataclass(frozen=True, slots=True)
class Request:
    """A user's request. topic, parquet: outputs, at least one. model_version: None: the champion.

    warm_up_ms: length of the history before the range read for the state; None: all of it.
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
        """Kinds of output and the topic; without the folder, whose path may differ between machines."""
        kinds = [f"topic {self.topic}"] if self.topic else []
        return " and ".join([*kinds, *(["parquet"] if self.parquet else [])])


class ReplaySession:
    """The part of one process in a replay."""

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
        """Return the existing plan of this id and its progress, or None. partitions: number of event partitions.

        Raises PlanError if it differs from the request.
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
        """Raise PlanError if an existing plan differs from the request."""
        request = self.request
        compared = {
            "model version": (plan.model_version, request.model_version or plan.model_version),
            "output": (plan.outputs, request.outputs),
            "labels": (plan.with_labels, request.with_labels),
            "settings that affect texts, or dtype": (plan.settings, self.settings_digest()),
        }
        differ = [f"{what} ({began}, now {now})" for what, (began, now) in compared.items() if began != now]
        if differ:
            raise PlanError(
                f"Replay {request.replay_id!r} was started with another {', another '.join(differ)}. Continue with the "
                "original values, or give this replay another id (--id)."
            )
        with Planner(self.inputs, self._score_codec.decode) as planner:
            ids = planner.topic_ids(list(plan.topic_ids))
        again = [topic for topic, topic_id in plan.topic_ids.items() if ids[topic] != topic_id]
        if again:
            raise PlanError(
                f"Recreated since replay {request.replay_id!r} was started: {', '.join(again)}. Its offsets now refer "
                "to different records. Start a new replay with another id."
            )

    @kafka_errors
    def plan(self, model_version: str) -> ReplayPlan:
        """Plan the request without writing anything. Raises RangeError, ReplayError, StartError."""
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
        """Raise OutputError unless all files of completed partitions exist."""
        parquet = self.parquet()
        for number, one in progress.items():
            if parquet is not None and one.done:
                parquet.check(number, plan.partitions[number].scored, files_of(one))

    @kafka_errors
    def begin(self, plan: ReplayPlan, partitions: int) -> ReplayPlan:
        """Commit a plan unless another machine has committed one, and return the valid plan."""
        journal = self._journal(partitions)
        try:
            standing, _ = journal.begin(plan, self.settings.kafka.connect_timeout_s)
        finally:
            journal.close()
        self.check(standing)
        return standing

    def settings_digest(self) -> str:
        """Return a digest of this machine's dtype and of the settings that affect texts, labels or rejected events."""
        settings = self.settings
        deciding: list[Any] = [
            _RULES_OF_LABELS,
            settings.window.model_dump(mode="json"),
            settings.text.max_item_text_chars,
            settings.labels.model_dump(mode="json", exclude={"ticks"}),  # a replay writes no ticks
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
        """Create the label join with the live settings; it writes examples only if requested."""
        if not self.settings.labels.wanted:
            return None
        return make_labels(self.settings, PassThroughEncoder(), examples=self.request.with_labels)

    def processor(self, model: Model, labels: Labels | None) -> ScoringProcessor:
        """Create the processor, whose outputs are records instead of bytes."""
        return make_processor(self.settings, model, labels, PassThroughEncoder())

    def parquet(self) -> ParquetFolder | None:
        """Return the folder of Parquet files, or None if not requested."""
        return None if self.request.parquet is None else ParquetFolder(self.request.parquet)

    def outputs(self) -> Outputs:
        """Return the outputs, ready for writing.

        Raises ContractError for an unregistered schema, RegistryUnavailable.
        """
        topic = None if self.request.topic is None else self._topic_output(self.request.topic)
        return Outputs(topic, self.parquet())

    def _topic_output(self, topic: str) -> TopicOutput:
        # Use the subjects of the live topics: the schemas are the same and already registered.
        live, wire = self.settings.topics, self.settings.wire
        kinds: dict[type[Any], str] = {InfluenceScore: live.scores, DeadLetter: live.dead_letters}
        if self.request.with_labels:
            kinds[LabeledExample] = live.examples
        resolver = resolver_for(wire)
        codecs = {kind: codec_for(kind, name, wire, resolver) for kind, name in kinds.items()}
        for codec in codecs.values():
            codec.prepare_write()  # an unregistered schema fails now and not at the first commit
        return TopicOutput(TopicNames(topic), codecs)

    def batcher(self, model: Model, threads: int | None = None) -> MicroBatcher:
        """Start the micro-batcher with a long look-ahead, because the latency of single texts does not matter."""
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
        """Process the replay until it is complete, and return the progress of all partitions.

        worker: number of this process on this machine. on_start: called with the runner, to stop it. waiting_texts:
        returns how many texts the scorer has not scored yet, for reports.
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
            context = ReplayContext(
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
                    context,
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
            if context.outputs.parquet is not None and all(one.done for one in done.values()):
                for number in done:  # a machine that was suspended may have left pending files
                    context.outputs.parquet.clear(number)
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
