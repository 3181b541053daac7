"""Loading of the settings for a command, with readable errors."""

from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import SettingsError

from stream.settings import Settings
from sway.errors import CommandError


def load_settings() -> Settings:
    """Return the settings from the environment.

    Raises CommandError with the name of every invalid variable, but never its value, which may be a secret.
    """
    try:
        return Settings()
    except ValidationError as exc:
        problems = [f"{_variable(error['loc'])}: {error['msg']}" for error in exc.errors(include_input=False)]
        raise CommandError("invalid settings: " + "; ".join(problems)) from exc
    except SettingsError as exc:
        raise CommandError(f"the settings cannot be read: {exc}") from exc


def _variable(path: Sequence[str | int]) -> str:
    return "SWAY_" + "__".join(str(part).upper() for part in path)
