"""A TOML file of training knobs, for `sway train` and `sway trainer`."""

import tomllib
from pathlib import Path

from sway.errors import CommandError
from trainer.config import TrainingConfig


def read_knobs(path: Path) -> TrainingConfig:
    """Read a file; what it leaves out has the defaults of TrainingConfig.

    Raises CommandError if it cannot be read or is no TOML, TrainingRefused for a knob that is unknown or out of bounds.
    """
    try:
        return TrainingConfig.from_plain(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"the file of training knobs {path} cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise CommandError(f"the file of training knobs {path} is no TOML: {exc}") from exc
