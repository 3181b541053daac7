"""How findings are shown, and how checks are isolated from each other. No broker, no model."""

import json
import threading

import pytest
from rich.console import Console

from sway.doctor.findings import Finding, Status, as_json, as_table, fail, ok, summary, warn, worst
from sway.doctor.run import Check, NotChecked, Once, run_checks
from sway.errors import CommandError

FINDINGS = [ok("broker", "answers"), warn("keys", "none [yet]", "produce"), fail("model", "missing", "train")]


def run(*checks: Check, limit_s: float = 20.0) -> list[Finding]:
    return list(run_checks(checks, limit_s=limit_s, expected=(CommandError,)))


def test_the_overall_status_is_the_worst() -> None:
    assert worst([]) is Status.OK
    assert worst([Status.WARN, Status.OK]) is Status.WARN
    assert worst([Status.WARN, Status.FAIL, Status.OK]) is Status.FAIL
    assert summary(FINDINGS) == "1 ok, 1 warn, 1 FAIL"


def test_the_table_shows_every_field_verbatim() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(as_table(FINDINGS))
    shown = capture.get()
    for words in ("broker", "answers", "none [yet]", "FAIL", "train"):
        assert words in shown


def test_json_has_the_worst_status_and_every_finding() -> None:
    shown = json.loads(as_json(FINDINGS))
    assert shown["status"] == "FAIL"
    assert shown["findings"][1] == {
        "check": "keys",
        "status": "warn",
        "found": "none [yet]",
        "advice": "produce",
    }


def test_an_error_fails_only_its_own_check() -> None:
    def broken() -> list[Finding]:
        error = CommandError("no broker answers")
        error.add_note("It is kafka.bootstrap_servers.")
        raise error

    def buggy() -> list[Finding]:
        raise KeyError("oops")

    first, second, third = run(
        Check("broker", broken), Check("keys", buggy), Check("web", lambda: [ok("web", "free")])
    )
    assert first == fail("broker", "no broker answers It is kafka.bootstrap_servers.")
    assert second.status is Status.FAIL
    assert "KeyError" in second.found
    assert third.status is Status.OK


def test_a_hanging_check_is_abandoned() -> None:
    release = threading.Event()

    def hanging() -> list[Finding]:
        release.wait()
        return []

    try:
        first, second = run(Check("model", hanging), Check("web", lambda: [ok("web", "free")]), limit_s=0.05)
    finally:
        release.set()
    assert first.status is Status.FAIL
    assert "no answer within 0.05 s" in first.found
    assert second.status is Status.OK


def test_a_check_without_its_dependency_is_not_run() -> None:
    attempts = []

    def connect() -> str:
        attempts.append(1)
        raise CommandError("no broker answers")

    cluster = Once(connect, missing="no broker")

    def check_broker() -> list[Finding]:
        return [ok("broker", cluster.first())]

    def check_topics() -> list[Finding]:
        return [ok("topics", cluster.get())]

    first, second = run(Check("broker", check_broker), Check("topics", check_topics))
    assert first == fail("broker", "no broker answers")
    assert second == warn("topics", "not checked: no broker")
    assert len(attempts) == 1
    with pytest.raises(NotChecked):
        cluster.get()
