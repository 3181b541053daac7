"""Plays the machine with any rules, as long as wanted."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.protocol.audit import AuditError
from tests.protocol.machine import ProtocolMachine
from tests.protocol.rules import Rules


@dataclass
class Played:
    """What was tried, and what came of it."""

    examples: int = 0
    steps: Counter[str] = field(default_factory=Counter)  # how often each step was made, by its name
    broken: AuditError | None = None


def run_model(
    examples: int,
    steps: int,
    rules: Rules | None = None,
    *,
    places: tuple[str, ...] = (),
    same_each_time: bool = False,
) -> Played:
    """Play until an audit fails, or to the end; a failure is not made smaller.

    rules: all of them by default. places: where hand-overs happen, all of a commit by default.
    same_each_time: the same examples at each call.
    Any error but an AuditError is raised.
    """
    played = Played()
    broken: list[bool] = []

    class Machine(ProtocolMachine):
        protocol = rules or Rules()

        def teardown(self) -> None:
            if not broken:  # what follows is Hypothesis playing the failure again
                played.examples += 1
            try:
                super().teardown()
            finally:
                played.steps.update(self.cluster.steps)
                if self.cluster.broken:
                    broken.append(True)

    Machine.places = places or ProtocolMachine.places
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],
        derandomize=same_each_time,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(Machine, settings=limits)
    except AuditError as exc:
        played.broken = exc
    return played
