"""The README's picture shows what the demo's terminal showed."""

import pytest

from tools.demo_picture import excerpt, picture

FRAME = "\x1b[2K╭── sway demo: MovieLens-100K, live ──╮\r\n│ scored {} │\r\n╰─────────────────────────────────────╯\r\n"
TABLES = (
    "Ten scored behaviours\r\n┏━━━┓\r\n│ one │\r\n├───┤\r\n│ two │\r\n├───┤\r\n│ three │\r\n└───┘\r\n"
    "The newest 1,000 events\r\n┏━━━┓\r\n│ \x1b[1mSway, live\x1b[0m │\r\n└───┘\r\n"
)
RECORDING = "\x1b[1m1\x1b[0m The data\r\n" + "".join(FRAME.format(n) for n in range(10)) + TABLES


def test_it_takes_the_steps_one_frame_one_text_and_the_last_table() -> None:
    lines = excerpt(RECORDING)
    assert lines[:2] == ["$ make demo", "\x1b[1m1\x1b[0m The data"]
    assert [line for line in lines if "scored" in line and "│" in line] == ["│ scored 9 │"]
    assert "│ one │" in lines
    assert "│ two │" not in lines
    assert lines[-2:] == ["│ \x1b[1mSway, live\x1b[0m │", "└───┘"]


def test_a_demo_that_was_broken_off_has_no_picture() -> None:
    with pytest.raises(ValueError, match="tables at the demo's end"):
        excerpt(RECORDING.removesuffix(TABLES))


def test_the_picture_refers_to_nothing_outside() -> None:
    svg = picture(excerpt(RECORDING))
    assert "Sway," in svg
    assert "url(" not in svg.replace("url(#", "")
