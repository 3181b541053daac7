"""A TOML file of training knobs, for `sway train` and `sway trainer`."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from sway.errors import CommandError
from trainer.config import TrainingConfig
from trainer.knob_readings import refuse_other_knobs


class Knobs(NamedTuple):
    """config: what a file says. given: the names of the knobs that it sets, a table's name for all in it."""

    config: TrainingConfig
    given: frozenset[str] = frozenset()


def read_knobs(path: Path) -> Knobs:
    """Read a file; what it leaves out has the defaults of TrainingConfig.

    Raises CommandError if it cannot be read or is no TOML, TrainingRefused for a knob that is unknown or out of bounds,
    or of another reading than the file names.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
        config, given = TrainingConfig.from_plain(plain), frozenset(plain)
        if config.reading is not None:
            refuse_other_knobs(given, config.reading)
        return Knobs(config, given)
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"the file of training knobs {path} cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise CommandError(f"the file of training knobs {path} is no TOML: {exc}") from exc
