"""A leader that is killed at one step of a hand-over; multiprocessing runs it and reports its exit code."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence

from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.records import Output
from stream.exactly_once.units.records import TopicPartition as Where
from tests.integration.conftest import Topics
from tests.integration.handovers import lead, read_to_end

STEPS = ("took over", "wrote the ends", "produced", "sent the offsets", "committed")


def die_at(step: str, bootstrap_servers: str, prefix: str) -> None:
    """Read all examples, hand them over, and kill this process (SIGKILL) after the given step."""
    with lead(Topics(bootstrap_servers, prefix), min_examples=1000, writer_type=_dying(step)) as leader:
        read_to_end(leader)
        leader.hand_over(forced=True)


def _dying(step: str) -> type[TransactionWriter]:
    class Dying(TransactionWriter):
        """Kills its process after the given step; the first commit writes only the ends."""

        outputs: Sequence[Output] = ()

        def init(self, timeout_s: float) -> None:
            super().init(timeout_s)
            _die_if(step == "took over")

        def commit(
            self,
            outputs: Sequence[Output],
            offsets: Mapping[Where, int],
            group_metadata: bytes,
            tracked: Mapping[Where, int],
            note: str | Mapping[Where, str] = "",
        ) -> dict[Where, int]:
            self.outputs = outputs
            written = super().commit(outputs, offsets, group_metadata, tracked, note)
            _die_if(step == ("committed" if outputs else "wrote the ends"))
            return written

        def _produce(self, output: Output, on_delivery: Callable[..., None] | None) -> None:
            super()._produce(output, on_delivery)
            self._producer.flush(10)
            _die_if(step == "produced")

        def _before_commit(self) -> None:
            _die_if(step == "sent the offsets" and bool(self.outputs))

    return Dying


def _die_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)
