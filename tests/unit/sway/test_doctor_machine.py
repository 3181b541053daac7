"""Findings about settings, the state folder, the port, the CPU and the model's data type."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.settings import KafkaSettings, Settings, TimeSettings, TopicSettings, UnitSettings
from sway.doctor.conflicts import find_conflicts
from sway.doctor.cpu import describe, flags_in
from sway.doctor.dtypes import Measured, busy_note, judge, recommend
from sway.doctor.findings import Status
from sway.doctor.ports import check_web_port
from sway.doctor.state_folder import LOW_BYTES, TOO_LOW_BYTES, check_state_folder, judge_free

# --- settings -------------------------------------------------------------------------------------------


def test_the_default_settings_do_not_conflict() -> None:
    (finding,) = find_conflicts(Settings(), ["HOME", "SWAY_APP_ID"])
    assert finding.status is Status.OK


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        (
            {"topics": TopicSettings(events="a", outcomes="a")},
            Status.FAIL,
            "topics.events and topics.outcomes",
        ),
        ({"kafka": KafkaSettings(sasl_username="u")}, Status.WARN, "does not use it"),
        (
            {"kafka": KafkaSettings(security_protocol="SSL", ssl_ca_location=Path("no-such.pem"))},
            Status.FAIL,
            "no-such.pem does not exist",
        ),
        ({"kafka": KafkaSettings(ssl_ca_location=Path("ca.pem"))}, Status.WARN, "does not use it"),
        (
            {
                "kafka": KafkaSettings.model_validate(
                    {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u", "sasl_password": "p"}
                )
            },
            Status.WARN,
            "unencrypted",
        ),
        ({"time": TimeSettings(stuck_after_s=20)}, Status.WARN, "time.stuck_after_s=20"),
        ({"units": UnitSettings(transaction_timeout_s=40)}, Status.WARN, "units.transaction_timeout_s=40"),
        (
            {"kafka": KafkaSettings(session_timeout_s=3, heartbeat_interval_s=1)},
            Status.WARN,
            "kafka.session_timeout_s=3",
        ),
        ({"units": UnitSettings(max_bytes=99_999_999)}, Status.WARN, "units.max_bytes"),
    ],
)
def test_conflicting_settings_are_reported(settings: dict[str, Any], status: Status, words: str) -> None:
    (finding,) = find_conflicts(Settings(**settings), [])
    assert finding.status is status
    assert words in finding.found


def test_a_misspelt_variable_is_reported() -> None:
    (finding,) = find_conflicts(Settings(), ["SWAY_STATEDIR"])
    assert finding.status is Status.WARN
    assert finding.advice == "did you mean SWAY_STATE_DIR?"


# --- state folder ---------------------------------------------------------------------------------------


def test_a_missing_folder_is_ok_and_is_not_created(tmp_path: Path) -> None:
    finding = check_state_folder(tmp_path / "deep" / "state", None)
    assert finding.status is not Status.FAIL
    assert "is created at the first start" in finding.found
    assert list(tmp_path.iterdir()) == []


def test_a_used_folder_shows_its_partitions_and_slot(tmp_path: Path) -> None:
    from stream.exactly_once.kafka.store import StateFolder  # its package imports Faust

    folder = StateFolder(tmp_path)
    slot = folder.open(None)
    folder.partition(3).mkdir()
    in_use = check_state_folder(tmp_path, None)
    folder.close()
    free = check_state_folder(tmp_path, None)
    assert in_use.status is Status.WARN
    assert "in use by a running worker" in in_use.found
    assert "in use" not in free.found
    assert f"has 1 partitions, slot {slot}" in free.found
    assert "slot a (SWAY_SLOT" in check_state_folder(tmp_path, "a").found


def test_a_file_in_place_of_the_folder_fails(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.touch()
    assert check_state_folder(file, None).status is Status.FAIL


def test_an_unwritable_folder_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root can write to any folder
    finding = check_state_folder(tmp_path, None)
    assert finding.status is Status.FAIL
    assert "Permission denied" in finding.found
    assert "SWAY_STATE_DIR" in finding.advice


def test_little_free_space_is_reported() -> None:
    assert judge_free(LOW_BYTES)[0] is Status.OK
    assert judge_free(LOW_BYTES - 1)[0] is Status.WARN
    assert judge_free(TOO_LOW_BYTES - 1)[0] is Status.FAIL


def test_free_space_is_that_of_the_folders_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=TOO_LOW_BYTES - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    assert check_state_folder(tmp_path, None).status is Status.FAIL


# --- port -----------------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_reported(taken_port: int) -> None:
    assert check_web_port("127.0.0.1", 0).status is Status.FAIL
    finding = check_web_port("127.0.0.1", taken_port)
    assert finding.status is Status.WARN
    assert "SWAY_WEB__PORT" in finding.advice


# --- CPU and data types ---------------------------------------------------------------------------------


def test_cpu_flags_are_parsed() -> None:
    flags = flags_in(
        "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n\nprocessor\t: 1\nflags\t\t: none\n"
    )
    assert describe(flags) == "CPU with avx2, avx512, avx512_bf16, without amx"
    assert describe(flags_in("flags : amx_bf16")) == "CPU with amx, without avx2, avx512, avx512_bf16"
    assert describe(flags_in("")) == "CPU flags unknown"


def test_another_dtype_is_recommended_only_if_clearly_faster() -> None:
    assert recommend([Measured("fp32", 90), Measured("bf16", 200), Measured("int8", 300)]) == "bf16"
    assert recommend([Measured("fp32", 90), Measured("bf16", 95)]) == "fp32"
    assert recommend([Measured("fp32", 90), Measured("bf16", None, "slow")]) == "fp32"
    assert recommend([]) == "fp32"


def test_figures_from_a_busy_machine_are_marked() -> None:
    assert busy_note(1.5, 2) == ""
    assert "load 5.2 on 2 cores" in busy_note(5.2, 2)


def test_a_slow_configured_dtype_is_reported_with_the_setting() -> None:
    measured = [Measured("fp32", 90), Measured("bf16", None, "75 times as long"), Measured("int8", 180)]
    right = judge(measured, configured="auto", in_use="fp32", where="on a CPU")
    assert right.status is Status.OK
    assert "int8 180 texts/s (not configurable)" in right.found
    wrong = judge(measured, configured="bf16", in_use="bf16", where="on a CPU")
    assert wrong.status is Status.WARN
    assert wrong.advice == "set SWAY_MODEL__DTYPE=fp32 for 90 texts/s"
    assert "bf16 not measured: 75 times as long" in wrong.found
