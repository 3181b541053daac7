"""Replay workers: one in this process, or several child processes that report through pipes."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from model.errors import ModelError
from model.loading import Model
from schemas.errors import SchemaError
from stream.assembly import load_champion, tune_garbage_collection
from stream.errors import StreamError
from stream.exactly_once import ExactlyOnceError
from stream.log import set_up_log
from stream.replay.plan import Progress, ReplayPlan
from stream.replay.runner import ReplayRunner, Report
from stream.replay.session import ReplaySession, Request
from stream.settings import Settings
from sway.errors import CommandError
from sway.replay.show import OnReport

_END_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """The input of a replay worker. partitions: of the events topic. threads: CPU threads, None for all."""

    settings: Settings
    request: Request
    plan: ReplayPlan
    partitions: int
    threads: int | None = None


def run_here(job: Job, model: Model, on_report: OnReport) -> dict[int, Progress]:
    """Run one worker in this process and return the progress of all partitions, also after SIGTERM or Ctrl-C."""
    tune_garbage_collection()
    return _work(job, 0, model, lambda report: on_report(0, report))


def run_in_processes(job: Job, workers: int, on_report: OnReport) -> dict[int, Progress]:
    """Run several workers and return the progress of all partitions. The others take over from a worker that dies.

    Raises CommandError if a worker failed and the replay is neither complete nor stopped.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    job = Job(job.settings, job.request, job.plan, job.partitions, threads)
    pipes: dict[Connection, int] = {}
    children: list[SpawnProcess] = []
    newest: dict[int, Progress] = {}
    for worker in range(workers):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(job, worker, sender), name=f"replay-{worker}")
        child.start()
        sender.close()
        pipes[receiver] = worker
        children.append(child)

    def stop() -> None:
        for child in children:
            child.terminate()

    with _signals_to(stop) as stopped:
        while pipes:
            for pipe in wait(list(pipes)):
                if not isinstance(pipe, Connection):
                    continue
                try:
                    report: Report = pipe.recv()
                # The worker has ended, possibly in the middle of a report.
                except (EOFError, OSError):
                    del pipes[pipe]
                    continue
                newest |= report.partitions
                on_report(pipes[pipe], report)
    for child in children:
        child.join(_END_S)
    failed = {child.name: child.exitcode for child in children if child.exitcode != 0}
    complete = bool(newest) and all(one.done for one in newest.values())
    if failed and not complete and not stopped.is_set():
        exits = ", ".join(f"{name} exited with status {status}" for name, status in failed.items())
        raise CommandError(
            f"the replay is not complete: {exits}. Completed work is kept; repeat the command to resume"
        )
    return newest


def _child(job: Job, worker: int, pipe: Connection) -> None:
    set_up_log(logging.WARNING)
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    job.settings.model.version = job.plan.model_version
    try:
        model = load_champion(job.settings)
        tune_garbage_collection()
        _work(job, worker, model, pipe.send)
    except (StreamError, ExactlyOnceError, ModelError, SchemaError) as exc:
        sys.exit(f"sway: worker {worker}: {exc}")


def _exit_with_parent(parent: int) -> None:
    """Exit when the parent process is gone. Uncommitted work is repeated by a later run."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(1.0)
    os._exit(1)


def _work(job: Job, worker: int, model: Model, on_report: Callable[[Report], None]) -> dict[int, Progress]:
    session = ReplaySession(job.settings, job.request)
    with ExitStack() as stack:
        batcher = session.batcher(model, job.threads)
        stack.callback(batcher.close, drop=True)

        def stoppable(runner: ReplayRunner) -> None:
            stack.enter_context(_signals_to(runner.stop))

        return session.run(
            job.plan,
            job.partitions,
            model,
            batcher,
            worker=worker,
            on_report=on_report,
            on_start=stoppable,
            waiting_texts=lambda: batcher.waiting_rows,
        )


@contextmanager
def _signals_to(stop: Callable[[], object]) -> Iterator[threading.Event]:
    """Call stop on SIGTERM and Ctrl-C while the block runs. Yields an event that is set before the call."""
    stopped = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        stopped.set()
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
