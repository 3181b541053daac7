"""The page of settings says what every setting means."""

import pytest

from sway.settings_tree import Variable, variables
from tools.settings_page import MEANINGS, meaning, page


@pytest.mark.parametrize("variable", variables(), ids=lambda variable: variable.path)
def test_every_setting_says_what_it_means(variable: Variable) -> None:
    assert meaning(variable), f"give {variable.path} a description in stream/settings.py"


def test_what_the_tree_says_itself_is_not_said_twice() -> None:
    assert set(MEANINGS) <= {variable.path for variable in variables() if not variable.description}


def test_every_setting_has_a_row() -> None:
    assert [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")] == [
        variable.name for variable in variables()
    ]
