"""Renders docs/images/demo.svg from a terminal recording of `make demo`, 100 columns wide.

script -q -c "stty cols 100; make demo" demo.typescript
python -m tools.demo_picture demo.typescript docs/images/demo.svg

The picture shows recorded output: the steps, one frame of the live view, the first text and the last table.
"""

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

_WIDTH = 100
_TEXTS = 1
_MOMENT = 0.9  # position of the chosen frame among those of the live view
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Zac-ln-z]|\r")  # all escape sequences except colours
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FONT_FACES = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)


def excerpt(recording: str) -> list[str]:
    """Return the lines to show, with colours. Raises ValueError if the recording is incomplete."""
    lines = _MOVES.sub("", recording).split("\n")
    plain = [_COLOURS.sub("", line) for line in lines]
    frames = _where(plain, "sway demo: ")
    tables = [*_where(plain, "Ten scored behaviours")[-1:], *_where(plain, "The newest")[-1:]]
    if not frames or len(tables) != 2:
        raise ValueError("the recording lacks the live view or the tables at the demo's end")
    panel, (texts, rivals) = frames[int(_MOMENT * len(frames))], tables
    steps = [line for line, words in zip(lines, plain, strict=True) if re.match(r"[1-5] [A-Z]", words)]
    panel_end = next(i for i in range(panel, len(plain)) if plain[i].startswith("╰"))
    rules = [i for i in range(texts, rivals) if plain[i].startswith("├")]
    rivals_end = next(i for i in range(rivals, len(plain)) if plain[i].startswith("└"))
    return [
        "$ make demo",
        *steps[:4],
        "",
        _from(lines[panel], "╭"),
        *lines[panel + 1 : panel_end],
        lines[panel_end],
        *lines[texts : rules[_TEXTS - 1] + 1],
        f"  … {10 - _TEXTS} more",
        "",
        *lines[rivals : rivals_end + 1],
    ]


def picture(lines: list[str]) -> str:
    """Return a self-contained SVG of a terminal with these lines."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    return console.export_svg(title="make demo", code_format=_FONT_FACES.sub("", CONSOLE_SVG_FORMAT))


def _where(lines: list[str], words: str) -> list[int]:
    return [i for i, line in enumerate(lines) if words in line]


def _from(line: str, start: str) -> str:
    return line[line.rindex(start) :]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(
        picture(excerpt(source.read_text(encoding="utf-8", errors="replace"))), encoding="utf-8"
    )
