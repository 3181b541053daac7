"""The settings as environment variables."""

import pytest
from pydantic import ValidationError

from stream.settings import Settings
from sway.settings_tree import unknown_variables, variables


def test_every_variable_is_read_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Settings()
    tree = variables()
    assert len({variable.name for variable in tree}) == len(tree) > 40
    for variable in tree:
        if variable.default not in (None, "", (), {}):
            monkeypatch.setenv(variable.name, str(variable.default))
    # A nested name that is not a setting would be refused.
    assert Settings() == plain
    monkeypatch.setenv("SWAY_WEB__PORT", "1234")
    assert Settings().web.port == 1234
    monkeypatch.setenv("SWAY_LABELS__RULES", '[{"action": "view", "by": "purchase"}]')
    assert Settings().labels.rules[0].by == "purchase"


def test_allowed_values_are_described_in_words() -> None:
    allowed = {variable.path: variable.allowed for variable in variables()}
    assert allowed["web.port"] == "whole number, at least 1, at most 65535"
    assert allowed["model.dtype"] == "auto, fp32, bf16, fp16"
    assert allowed["kafka.sasl_password"] == "text, secret"  # noqa: S105
    assert allowed["state_dir"] == "path"
    assert allowed["slot"] == "text"


def test_a_misspelt_variable_suggests_the_intended_setting() -> None:
    names = ["SWAY_STATEDIR", "SWAY_KAFKA__BOOTSTRAP_SERVERS", "SWAY_KAFKA", "sway_app_id", "HOME"]
    assert unknown_variables(names) == {"SWAY_STATEDIR": "SWAY_STATE_DIR"}
    assert unknown_variables(["SWAY_XXXXXXXXXXXX"]) == {"SWAY_XXXXXXXXXXXX": None}


@pytest.mark.parametrize("slot", ["handover", "blue-handover", "replay-r1-plan", "blue-replay-r1-0"])
def test_a_slot_whose_transactional_id_is_taken_is_refused(
    monkeypatch: pytest.MonkeyPatch, slot: str
) -> None:
    monkeypatch.setenv("SWAY_SLOT", slot)
    with pytest.raises(ValidationError, match=rf"slot='{slot}'.*transactional id.*Choose another"):
        Settings()


@pytest.mark.parametrize("slot", ["blue", "handover-1", "myhandover", "replay", "prereplay-1"])
def test_any_other_slot_is_accepted(monkeypatch: pytest.MonkeyPatch, slot: str) -> None:
    monkeypatch.setenv("SWAY_SLOT", slot)
    assert Settings().slot == slot
