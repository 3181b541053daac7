"""The picture of the README shows the terminal output of the demo."""

import pytest

from tools.demo_picture import excerpt, picture

FRAME = "\x1b[2K╭── sway demo: MovieLens-100K, live ──╮\r\n│ scored {} │\r\n╰─────────────────────────────────────╯\r\n"
TABLES = (
    "Ten scored behaviours\r\n┏━━━┓\r\n│ one │\r\n├───┤\r\n│ two │\r\n├───┤\r\n│ three │\r\n└───┘\r\n"
    "The newest 1,000 events\r\n┏━━━┓\r\n│ \x1b[1mSway, live\x1b[0m │\r\n└───┘\r\n"
)
RECORDING = "\x1b[1m1\x1b[0m The data\r\n" + "".join(FRAME.format(n) for n in range(10)) + TABLES


def test_the_excerpt_has_the_last_frame_and_table() -> None:
    lines = excerpt(RECORDING)
    assert lines[:2] == ["$ make demo", "\x1b[1m1\x1b[0m The data"]
    assert [line for line in lines if "scored" in line and "│" in line] == ["│ scored 9 │"]
    assert "│ one │" in lines
    assert "│ two │" not in lines
    assert lines[-2:] == ["│ \x1b[1mSway, live\x1b[0m │", "└───┘"]


def test_an_interrupted_demo_has_no_picture() -> None:
    with pytest.raises(ValueError, match="tables at the demo's end"):
        excerpt(RECORDING.removesuffix(TABLES))


def test_the_picture_has_no_external_references() -> None:
    svg = picture(excerpt(RECORDING))
    assert "Sway," in svg
    assert "url(" not in svg.replace("url(#", "")
