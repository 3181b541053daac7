"""A worker whose model never answers: `python -m tests.integration.blocked_worker`; settings as ever."""

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
    """Takes texts, and gives no score, ever."""

    def submit(self, jobs: Sequence[Any]) -> "Future[Any]":
        return Future()


def main() -> None:
    """Run the worker until it ends itself."""
    set_up_log(logging.INFO)
    settings = Settings()
    run_app(build_app(settings, Components(load_champion(settings), BlockingScorer())))


if __name__ == "__main__":
    main()
