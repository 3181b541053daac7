"""A trainer process on separate topics: its requests, and the audit of its versions and promotions."""

import shutil
import signal
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from model.registry import ModelRegistry
from schemas.records import LabeledExample, ModelAnnouncement, TrainingRequest
from schemas.wire import Codec
from tests.faults.inside import Inside
from tests.faults.process import Forked, context, run
from tests.integration.conftest import Topics, wait_for
from tests.integration.handovers import lead, read_to_end, requests, visible
from tests.integration.killed_trainer import HANGING, HELD, STOPPED, end_at
from tests.integration.workers import RunningProcess, Worker

EXAMPLES = 400
PARTITIONS = 2
NO_OFFSET = -1001
TRAINING = """
epochs = 6
batch_rows = 16
learning_rate = 1e-3
trained_layers = 1
tensorboard = false
threads = 1
"""


class ForkedTrainer(Worker):
    """A trainer forked from the fork server, which has imported its modules, so that it starts quickly."""

    def _launch(self, command: Sequence[str], environment: dict[str, str]) -> RunningProcess:
        arguments = (environment, Inside(), str(self.log), ("sway", "trainer"))
        process = context().Process(target=run, args=arguments, name=self.log.stem, daemon=True)
        process.start()
        return Forked(process)


class Training:
    """Topics, a registry with an untrained champion, and a trainer."""

    def __init__(self, topics: Topics, champion: Path, folder: Path) -> None:
        self.topics = topics
        topics.create("examples", partitions=PARTITIONS)
        topics.create("training")
        topics.create("models")
        shutil.copytree(champion, folder / "registry")
        (folder / "training.toml").write_text(TRAINING)
        self.registry = ModelRegistry(folder / "registry")
        self.work = folder / "work"
        self.environment = {
            "SWAY_KAFKA__BOOTSTRAP_SERVERS": topics.bootstrap_servers,
            "SWAY_KAFKA__SESSION_TIMEOUT_S": "6",
            "SWAY_KAFKA__HEARTBEAT_INTERVAL_S": "1",
            "SWAY_TOPICS__PREFIX": topics.prefix,
            "SWAY_APP_ID": topics.prefix,
            "SWAY_MODEL__REGISTRY": str(folder / "registry"),
            "SWAY_TRAINER__WORK_DIR": str(self.work),
            "SWAY_TRAINER__CONFIG": str(folder / "training.toml"),
            "SWAY_TRAINER__OLDER_EXAMPLES": "0",
            "SWAY_TRAINER__GATE_MIN_EXAMPLES": "50",
            "SWAY_TRAINER__GATE_MAX_SLOWDOWN": "100",  # a pass takes only 0.1 ms, and the machine may be busy
            "SWAY_TRAINER__NICE": "0",
        }
        self._folder = folder
        self.trainer = Worker(folder, "trainer", self.environment)
        # Trainers of killed_trainer run in its place, on the same port.
        self.environment["SWAY_TRAINER__WEB_PORT"] = str(self.trainer.port)

    def second_trainer(self) -> Worker:
        """Return a trainer with its own port and work folder, not started."""
        return ForkedTrainer(
            self._folder,
            "second",
            {**self.environment, "SWAY_TRAINER__WORK_DIR": str(self._folder / "work-2")},
        )

    def hand_over(self, *, liked: str, disliked: str) -> TrainingRequest:
        """Write examples of two items in one transaction, then a request for them."""
        codec = Codec(LabeledExample)
        producer = Producer(
            {"bootstrap.servers": self.topics.bootstrap_servers, "transactional.id": self.topics.prefix}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for number in range(EXAMPLES):
            example = labeled(number, liked if number % 2 else disliked, float(number % 2))
            producer.produce(
                self.topics.name("examples"), codec.encode(example), partition=number // 2 % PARTITIONS
            )
        producer.commit_transaction(30)
        with lead(self.topics, min_examples=EXAMPLES + 1) as leader:
            read_to_end(leader)
            request = leader.hand_over(forced=True)
        assert request is not None
        assert request.examples == EXAMPLES
        return request

    def end_at(self, step: str, processes: ForkServerContext) -> tuple[int, int, int]:
        """Run a trainer until it ends at a step; return the numbers of versions and promotions, and its offset."""
        process = processes.Process(target=end_at, args=(step, self.environment))
        process.start()
        process.join(60)
        status = process.exitcode
        process.kill()  # in case it has not reached its step
        process.join(30)
        assert status == (0 if step in (STOPPED, HANGING) else -signal.SIGKILL), step
        return len(self.registry.versions()), len(self.registry.promotions()), self.committed()

    def hold(self, until: Path, processes: ForkServerContext) -> BaseProcess:
        """Start a trainer that pauses in training until the file exists; return its process."""
        process = processes.Process(target=end_at, args=(HELD, self.environment, until))
        process.start()
        wait_for(
            lambda: self.trainer.metric('sway_trainer_phase{phase="fine_tuning"}') == 1,
            "training",
            timeout_s=60,
        )
        return process

    def wait_until_committed(self, offset: int, by: Worker | None = None) -> None:
        """Wait until a trainer, by default `trainer`, has committed the offset."""
        trainer = by or self.trainer

        def done() -> bool:
            assert trainer.process.poll() is None, trainer.log_text()
            return self.committed() >= offset

        wait_for(done, f"commit of {offset}", timeout_s=90)

    def committed(self) -> int:
        """Return the committed offset of the trainers' group, or NO_OFFSET."""
        group = f"{self.topics.prefix}-trainer"
        consumer = Consumer({"bootstrap.servers": self.topics.bootstrap_servers, "group.id": group})
        asked = [TopicPartition(self.topics.name("training"), 0)]
        offset: int = consumer.committed(asked, timeout=30)[0].offset
        consumer.close()
        return offset

    def announced(self) -> list[tuple[str, str]]:
        """Return the announced versions and events, oldest first."""
        found = [
            Codec(ModelAnnouncement).decode(message.value()) for message in visible(self.topics, "models", 1)
        ]
        return [(one.version, one.event) for one in found]

    def audit(self, requests_made: list[TrainingRequest]) -> list[str]:
        """Check that each request led to one complete version and one promotion; return the versions."""
        assert requests(self.topics) == requests_made
        first, *promoted = [promotion.version for _, promotion in self.registry.history()]
        assert self.registry.versions() == sorted([first, *promoted])
        for version, parent, request in zip(promoted, [first, *promoted], requests_made, strict=False):
            assert self.registry.load(version, dtype="fp32").version == version
            manifest = self.registry.manifest(version)
            assert (manifest.parent, manifest.data["request"]) == (parent, request.request_id)
            assert sum(manifest.data[part] for part in ("train", "valid", "gate")) == EXAMPLES
            assert self.registry.reports(version) == ["gate"]
            assert not (self.work / version).exists()
        assert len(promoted) == len(requests_made)
        return promoted


def labeled(number: int, target: str, y: float) -> LabeledExample:
    user, item = f"u{number % 61}", f"i{number % 2}"
    return LabeledExample(
        event_id=f"e{number}",
        user_id=user,
        item_id=item,
        history="watch alien liked",
        target=target,
        y=y,
        y_hat=0.5,
        z_hat=0.5,
        model_version="tiny",
        label_source="outcome",
        occurred_at=number,
        labeled_at=number,
        z=y,
    )
