"""The environment of the benchmarks: one Kafka broker, one model, and programs in separate processes."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forget these

from benchmarks.movies import produce
from model import checkpoint
from model.manifest import Manifest
from model.network import NetworkSettings
from model.registry import ModelRegistry
from sway.base_model import minilm_dir
from sway.embedded import EmbeddedKafka

PARTITIONS = 4
EVENTS = "bench.events"
_MODEL = "all-minilm-l6-v2"
_STOP_S = 30.0


class ProgramEndedError(Exception):
    """A program ended unexpectedly; the message is the end of its log."""


class Stand:
    """Topics, a registry with the base model, and programs configured by Sway's settings.

    folder: for the registry, states and logs; it is not deleted, so that logs can be read afterwards.
    """

    def __init__(self, kafka: EmbeddedKafka, folder: Path) -> None:
        self.servers = kafka.bootstrap_servers
        self.folder = folder
        self.registry = folder / "registry"
        _publish_base_model(self.registry)
        self.create_topics("bench.outcomes", "bench.dead-letters")

    def create_topics(self, *names: str, **config: str) -> None:
        """Create topics, which must not exist yet. config: Kafka topic settings."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        new = [NewTopic(name, PARTITIONS, 1, config=config) for name in names]
        for future in admin.create_topics(new).values():
            future.result(30)

    def load(self, number: int) -> None:
        """Create the events topic and produce a number of events to it."""
        self.create_topics(EVENTS)
        produce(self.servers, EVENTS, number)

    @contextmanager
    def program(self, name: str, module: str, *arguments: str, **settings: str) -> Iterator["Program"]:
        """Run a module with its own state, consumer group and scores topic until the block ends.

        settings: Sway's environment variables without the prefix.
        """
        self.create_topics(f"{name}.scores")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWAY_")}
        ours = {
            "APP_ID": name,
            "STATE_DIR": str(self.folder / name),
            "KAFKA__BOOTSTRAP_SERVERS": self.servers,
            "TOPICS__PREFIX": "bench",
            "TOPICS__PARTITIONS": str(PARTITIONS),
            "TOPICS__SCORES": f"{name}.scores",
            "MODEL__REGISTRY": str(self.registry),
            "WEB__ENABLED": "false",
            **settings,
        }
        environment |= {f"SWAY_{key}": value for key, value in ours.items()}
        program = Program([module, *arguments], environment, self.folder / f"{name}.log")
        try:
            yield program
        finally:
            program.stop()


class Program:
    """A child process that runs until it is stopped."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._answer = log.with_suffix(".out")
        with log.open("wb") as errors, self._answer.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=output, stderr=errors
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise ProgramEndedError if the process has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()
            raise ProgramEndedError(
                "\n".join([f"status {self._process.returncode}, {self._log}:", *lines[-20:]])
            )

    def answer(self) -> str:
        """Wait for the process to end and return its output. Raises ProgramEndedError if it failed."""
        if self._process.wait() != 0:
            self.check()
        return self._answer.read_text()

    def stop(self) -> None:
        """Terminate the process; kill it if it does not end in time."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _publish_base_model(folder: Path) -> None:
    registry = ModelRegistry(folder)
    if registry.champion() is not None:
        return
    base = minilm_dir()
    network = checkpoint.from_base(base, NetworkSettings())
    checkpoint.save(network, folder / "checkpoint", tokenizer_from=base)
    registry.promote(registry.publish(folder / "checkpoint", Manifest("base", _MODEL, 0)))
