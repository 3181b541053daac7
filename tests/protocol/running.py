"""Run the state machine with any rules, for any number of examples."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.protocol.audit import AuditError
from tests.protocol.machine import ProtocolMachine
from tests.protocol.rules import Rules


@dataclass
class Played:
    """The result of a run. steps: how often each step was made, by name. broken: the violation, if one was found."""

    examples: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    broken: AuditError | None = None


def run_model(
    examples: int,
    *,
    steps: int,
    rules: Rules | None = None,
    places: tuple[str, ...] = (),
    same_each_time: bool = False,
) -> Played:
    """Run until an audit fails or all examples are done; failures are not shrunk.

    steps: per example. rules: all of them by default. places: where a hand-over pauses a worker; by default every step
    of a commit. same_each_time: run the same examples in each call.
    Raises any error other than an AuditError.
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
