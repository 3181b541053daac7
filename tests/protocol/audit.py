"""Compare everything a read_committed reader may see with a plain loop over the inputs."""

from collections.abc import Mapping

from stream.exactly_once.units.records import TopicPartition
from tests.protocol.broker import Broker, Record, Transaction
from tests.protocol.topics import CHANGELOG, INPUTS, OUTPUT, PARTITIONS, name_of


class AuditError(Exception):
    """A guarantee of the protocol is violated."""


class Audit:
    """Checks each transaction when its outcome is decided, and everything when the cluster is idle."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._checked = 0
        self._sources: dict[bytes, Record] = {}  # every input record that is not aborted, by its name
        self._done: set[bytes] = set()  # names with a committed output
        self._newest: dict[TopicPartition, int] = {}  # the newest offset with a committed output
        self._covered: dict[TopicPartition, int] = {}  # the committed offsets checked so far
        self._state: dict[tuple[int, bytes], bytes] = {}  # the state by the committed outputs

    def expect(self, record: Record) -> None:
        """Add an input record that must get exactly one output."""
        self._sources[name_of(TopicPartition(record.topic, record.partition), record.offset)] = record

    def check(self) -> None:
        """Check the transactions committed since the last call. Raises AuditError."""
        kept = self._broker.kept
        while self._checked < len(kept):
            self._checked += 1
            self._add(kept[self._checked - 1])

    def _add(self, transaction: Transaction) -> None:
        for record in transaction.records:
            if record.topic == OUTPUT:
                self._add_output(record)
        for record in transaction.records:
            if record.topic == CHANGELOG:
                folded = self._state.get((record.partition, record.key))
                if record.value != folded:
                    raise AuditError(f"the state of {record.key!r} is {record.value!r}, not {folded!r}")
        for where, offset in transaction.offsets.items():
            for missed in range(self._covered.get(where, 0), offset):
                name = name_of(where, missed)
                if name in self._sources and name not in self._done:
                    raise AuditError(f"offset {offset} of {where} skips {name!r}, which has no output")
            self._covered[where] = max(offset, self._covered.get(where, 0))

    def _add_output(self, record: Record) -> None:
        name = record.key
        if name in self._done:
            raise AuditError(f"{name!r} has two committed outputs")
        source = self._sources.get(name)
        if source is None:
            raise AuditError(f"{name!r} has an output but is not an input")
        where = TopicPartition(source.topic, source.partition)
        if source.offset < self._newest.get(where, -1):
            raise AuditError(f"{name!r} has its output after that of {self._newest[where]} of its partition")
        self._done.add(name)
        self._newest[where] = source.offset
        key = (source.partition, source.key)
        self._state[key] = self._state.get(key, b"") + name + b" "
        if record.value != self._state[key]:
            raise AuditError(f"{name!r} was computed from {record.value!r}, not from {self._state[key]!r}")

    def settle(self, stores: Mapping[int, Mapping[bytes, bytes]]) -> None:
        """Audit an idle cluster by its logs. Raises AuditError.

        stores: the state of each partition on its assigned worker.
        """
        logs = self._broker.logs
        for number in range(PARTITIONS):
            outputs = logs[TopicPartition(OUTPUT, number)].visible()
            inputs = {
                topic: [record.offset for record in logs[TopicPartition(topic, number)].visible()]
                for topic in INPUTS
            }
            names = [name_of(TopicPartition(t, number), offset) for t in INPUTS for offset in inputs[t]]
            if sorted(record.key for record in outputs) != sorted(names):
                missing = set(names) - {record.key for record in outputs}
                raise AuditError(
                    f"partition {number}: {sorted(missing)} have no output in the end, or some have two"
                )
            folded: dict[bytes, bytes] = {}
            for record in outputs:
                key = self._sources[record.key].key
                folded[key] = folded.get(key, b"") + record.key + b" "
            changelog = {r.key: r.value for r in logs[TopicPartition(CHANGELOG, number)].visible()}
            if changelog != folded:
                raise AuditError(f"partition {number}: the changelog is {changelog}, not {folded}")
            if stores.get(number) != changelog:
                raise AuditError(f"partition {number}: the store is {stores.get(number)}, not {changelog}")
            for topic in INPUTS:
                committed = self._broker.group.offsets.get(TopicPartition(topic, number), 0)
                if inputs[topic] and committed <= inputs[topic][-1]:
                    raise AuditError(f"{topic}[{number}]: the committed offset in the end is {committed}")
