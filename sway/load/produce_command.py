"""`sway produce`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stream.settings import Settings
from stream.wire import codec_for
from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.files.opening import open_rows
from sway.files.rows import RowFile
from sway.load.loader import Loader
from sway.load.options import OnError, RecordKind, oldest_ms
from sway.load.pace import Pace, parse_rate
from sway.load.reporting import BadRows, progress_bar, summary
from sway.load.rows import RowReader
from sway.load.sender import Sender

# In rows. Drawing the progress bar costs more than sending a record.
_PROGRESS_EVERY = 500


def produce(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    to: Annotated[RecordKind, typer.Option(help="Record type of the rows.")] = RecordKind.EVENTS,
    topic: Annotated[
        str | None, typer.Option(help="Target topic [default: the configured events or outcomes topic].")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Records per second, such as 500/s [default: unlimited].")
    ] = None,
    on_error: Annotated[OnError, typer.Option(help="What to do at an invalid row.")] = OnError.STOP,
    now: Annotated[
        bool, typer.Option("--now", help="Use the current time as the Kafka timestamp, not the row's time.")
    ] = False,
) -> None:
    """Send the rows of a file to a topic.

    Each row becomes an event or, with `--to outcomes`, an outcome. The columns have the names of the fields. Events:
    event_id, user_id, action, occurred_at (milliseconds or ISO 8601), and optionally item_id, item_text, value,
    domain, attributes (JSON). Outcomes: event_id, user_id, y, observed_at, and optionally z. An invalid row is
    reported with its line number.

    Records of one user go to one partition, in the order of the file. The Kafka timestamp is the row's time.

    Example: `sway produce events.parquet --rate 500/s`, then `sway produce outcomes.csv --to outcomes`
    """
    settings = load_settings()
    target, name = to.target, topic or to.topic(settings.topics)
    pace = Pace(parse_rate(rate) if rate is not None else None)
    rows = open_rows(file)
    if rows.complete:
        RowReader(target.record_type).check_columns(rows.columns)
    keeps_ms = _retention_ms(settings, name)
    codec = codec_for(target.record_type, name, settings.wire)
    codec.prepare_write()
    sender = Sender(settings.kafka.client_config(), name)
    bad_rows = BadRows(skip=on_error is OnError.SKIP, before="The rows before it were sent; ")
    loader = Loader(
        target,
        codec.encode,
        sender.send,
        on_bad_row=lambda line, problem: bad_rows.report(f"{file}, line {line}", problem),
        pace=pace,
        use_own_time=not now,
        oldest_ms=oldest_ms(int(time.time() * 1000), keeps_ms, use_own_time=not now),
    )
    _load(loader, rows, sender, name)


def _retention_ms(settings: Settings, topic: str) -> int | None:
    cluster = Cluster(settings.kafka)
    if topic not in cluster.view().partition_counts:
        raise CommandError(f"there is no topic {topic}: create Sway's topics with `sway topics create`")
    return cluster.retention_ms(topic)


def _load(loader: Loader, rows: RowFile, sender: Sender, topic: str) -> None:
    """Load with a progress bar, then flush and report the counts, also after an error or Ctrl-C."""
    started = time.monotonic()
    try:
        with progress_bar() as progress:
            bar = progress.add_task(topic, total=rows.size)

            def show(position: int) -> None:
                if (loader.sent + loader.skipped) % _PROGRESS_EVERY == 0:
                    progress.update(bar, completed=position)

            loader.load(rows.rows(), show)
            progress.update(bar, completed=rows.size)
    finally:
        sender.flush()
        typer.echo(summary(sender.acknowledged, topic, started, loader.skipped), err=True)
