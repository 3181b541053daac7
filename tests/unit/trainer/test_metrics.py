"""The metrics of a trainer, with an injected clock, and its pages."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trainer.claim import claimed
from trainer.errors import ServiceError, WorkFolderError
from trainer.metrics import PHASES, TrainerMetrics, phase_of
from trainer.web import pages, serving


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def value(metrics: TrainerMetrics, name: str, **labels: str) -> float:
    """Return the value of a sample in a scrape."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return float(sample.value)
    raise AssertionError(f"no {name} with {labels}")


def test_time_is_counted_for_the_current_phase() -> None:
    clock = Clock()
    metrics = TrainerMetrics(monotonic_s=clock)
    clock.now_s += 5
    metrics.enter("reading")
    clock.now_s += 7
    assert value(metrics, "sway_trainer_phase_age_seconds") == 7
    metrics.enter("reading")
    clock.now_s += 2
    seconds = {phase: value(metrics, "sway_trainer_phase_seconds_total", phase=phase) for phase in PHASES}
    assert {phase: s for phase, s in seconds.items() if s} == {"waiting": 5, "reading": 9}
    assert value(metrics, "sway_trainer_phase_age_seconds") == 9
    shown = {phase: value(metrics, "sway_trainer_phase", phase=phase) for phase in PHASES}
    assert [phase for phase, is_shown in shown.items() if is_shown] == ["reading"]


def test_an_abandoned_request_is_no_success() -> None:
    wall = Clock()
    metrics = TrainerMetrics(now_s=wall)
    metrics.on_result("given_up")
    metrics.on_result("undecodable")
    assert value(metrics, "sway_trainer_last_success_timestamp_seconds") == 0
    metrics.on_result("rejected")
    assert value(metrics, "sway_trainer_last_success_timestamp_seconds") == 100
    assert value(metrics, "sway_trainer_requests_total", result="given_up") == 1


def test_each_metric_has_its_type() -> None:
    families = text_string_to_metric_families(TrainerMetrics().render().decode())
    kinds = {family.name: family.type for family in families if not family.name.endswith("_created")}
    assert kinds == {
        "sway_trainer_requests": "counter",
        "sway_trainer_retries": "counter",
        "sway_trainer_phase": "gauge",
        "sway_trainer_phase_age_seconds": "gauge",
        "sway_trainer_phase_seconds": "counter",
        "sway_trainer_last_success_timestamp_seconds": "gauge",
        "sway_trainer_owner": "gauge",
        "sway_trainer_ready": "gauge",
    }


@pytest.mark.parametrize(
    ("stage", "phase"),
    [("texts: fine-tuning", "fine_tuning"), ("valid texts", "features"), ("heads", "heads"), ("found", None)],
)
def test_a_stage_belongs_to_a_phase(stage: str, phase: str | None) -> None:
    assert phase_of(stage) == phase


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="phase='dreaming' must be one of waiting, "):
        TrainerMetrics().enter("dreaming")


# --- the pages ------------------------------------------------------------------------------------------------


class Site:
    """The pages of a trainer with a controlled readiness."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.port = 0

    def request(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    with serving(pages(lambda: made.problem, lambda: b"a 1\n"), "127.0.0.1", 0) as made.port:
        yield made


def test_a_trainer_serves_only_three_read_only_pages(site: Site) -> None:
    assert site.request("/livez") == (200, "ok\n")
    assert site.request("/readyz") == (200, "ok\n")
    assert site.request("/metrics?name=a") == (200, "a 1\n")
    assert site.request("/livez", "HEAD") == (200, "")
    assert site.request("/")[0] == 404
    assert site.request("/livez", "POST")[0] == 501


def test_a_trainer_that_is_not_ready_says_why(site: Site) -> None:
    site.problem = "joining the group"
    assert site.request("/readyz") == (503, "joining the group\n")
    assert site.request("/livez")[0] == 200


def test_a_request_without_http_is_refused(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as caller:
        caller.sendall(b"\x16\x03\x01 secret\r\n\r\n")
        assert b"400" in caller.recv(1000)
        # Other requests are served while the connection is open.
        assert site.request("/livez") == (200, "ok\n")
    assert "secret" not in "".join(capfd.readouterr())


def test_a_port_in_use_is_refused_with_its_setting(site: Site) -> None:
    taken = serving({}, "127.0.0.1", site.port)
    with (
        pytest.raises(
            ServiceError, match=f"cannot listen on 127.0.0.1:{site.port}: .*SWAY_TRAINER__WEB_PORT"
        ),
        taken,
    ):
        pass


def test_a_work_folder_belongs_to_one_trainer(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with claimed(folder):
        second = claimed(folder)
        with pytest.raises(WorkFolderError, match="SWAY_TRAINER__WORK_DIR"), second:
            pass
    with claimed(folder):
        pass
