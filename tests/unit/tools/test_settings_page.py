"""The page of settings describes every setting."""

import pytest

from sway.settings_tree import Variable, variables
from tools.settings_page import MEANINGS, meaning, page


@pytest.mark.parametrize("variable", variables(), ids=lambda variable: variable.path)
def test_every_setting_has_a_description(variable: Variable) -> None:
    assert meaning(variable), f"give {variable.path} a description in stream/settings.py"


def test_a_described_setting_has_no_second_description() -> None:
    assert set(MEANINGS) <= {variable.path for variable in variables() if not variable.description}


def test_every_setting_has_a_row() -> None:
    assert [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")] == [
        variable.name for variable in variables()
    ]
