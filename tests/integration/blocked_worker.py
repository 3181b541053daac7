"""A worker whose model never answers: `python -m tests.integration.blocked_worker`, with Sway's usual settings."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from stream.assembly import load_champion
from stream.log import set_up_log
from stream.settings import Settings
from stream.worker.app import Components, build_app
from stream.worker.run import run_app


class BlockingScorer:
    """A scorer whose futures never complete."""

    def submit(self, jobs: Sequence[Any]) -> "Future[Any]":
        return Future()


def main() -> None:
    """Run the worker until it ends."""
    set_up_log(logging.INFO)
    settings = Settings()
    run_app(build_app(settings, Components(load_champion(settings), BlockingScorer())))


if __name__ == "__main__":
    main()
