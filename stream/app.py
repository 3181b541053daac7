"""The app for Faust's own command line: `faust -A stream.app worker`. Settings come from the environment."""

from stream.settings import Settings
from stream.worker.app import build_app

app = build_app(Settings())
