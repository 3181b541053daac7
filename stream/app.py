"""The app for Faust's command line: `faust -A stream.app worker`. Reads its settings from the environment."""

from stream.settings import Settings
from stream.worker.app import build_app

app = build_app(Settings())
