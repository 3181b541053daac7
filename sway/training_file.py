"""Reading of a TOML file of training knobs, for `sway train` and `sway trainer`."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from sway.errors import CommandError
from trainer.config import TrainingConfig
from trainer.knob_readings import refuse_other_knobs


class Knobs(NamedTuple):
    """The knobs of a file. given: the names of the knobs that it sets; for a table, the table's name."""

    config: TrainingConfig
    given: frozenset[str] = frozenset()


def read_knobs(path: Path) -> Knobs:
    """Read a file; missing knobs take the defaults of TrainingConfig.

    Raises CommandError if the file is unreadable or not valid TOML, TrainingRefused for a knob that is unknown, out of
    bounds, or of the other reading than the one that the file sets.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
        config, given = TrainingConfig.from_plain(plain), frozenset(plain)
        if config.reading is not None:
            refuse_other_knobs(given, config.reading)
        return Knobs(config, given)
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot read the file of training knobs {path}: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise CommandError(f"the file of training knobs {path} is not valid TOML: {exc}") from exc
