"""`sway import`."""

import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import TextColumn
from rich.table import Table

from stream.settings import Settings
from stream.wire import codec_for
from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.load.options import OnError, RecordKind, oldest_ms
from sway.load.reporting import BadRows, progress_bar, summary
from sway.load.sender import Sender
from sway.load.targets import Target
from sway.topic_plan import UNLIMITED_RETENTION, TopicPlan

# Arrow takes a quarter of a second to import.
if TYPE_CHECKING:
    from sway.load.importer import CheckedFile, Importer
    from sway.load.log_files import RowPosition


class TimeUnit(StrEnum):
    """The unit of numeric times, counted since 1970."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


def import_logs(
    source: Annotated[Path, typer.Argument(help="A Parquet, CSV or JSONL file, or a folder of them.")],
    to: Annotated[RecordKind, typer.Option(help="Record type of the rows.")] = RecordKind.EVENTS,
    topic: Annotated[
        str | None, typer.Option(help="Target topic [default: the configured events or outcomes topic].")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Read a field from this column. Repeatable."),
    ] = None,
    constants: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field to a constant. Repeatable."),
    ] = None,
    attributes: Annotated[
        str | None, typer.Option(metavar="COLUMN,COLUMN", help="Columns to collect in the field attributes.")
    ] = None,
    time_unit: Annotated[TimeUnit, typer.Option(help="Unit of numeric times.")] = TimeUnit.MS,
    pattern: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Import only matching files of the folder.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="FILE:ROW", help="Resume an import at this row.")
    ] = None,
    on_error: Annotated[OnError, typer.Option(help="What to do at an invalid row.")] = OnError.STOP,
    now: Annotated[
        bool, typer.Option("--now", help="Use the current time as the Kafka timestamp, not the row's time.")
    ] = False,
    create: Annotated[
        bool,
        typer.Option("--create", help="Create a missing topic, with unlimited retention."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the files and show the mapping, but send nothing.")
    ] = False,
) -> None:
    """Import event logs with any column names.

    A field is read from the column given by `--map`, else from the column of the same name. Other columns are ignored.
    Without a column for event_id, ids are derived from the file name and line number, so a repeated import produces
    the same ids. Times are numbers (`--time-unit`), ISO 8601, or Parquet timestamps. See docs/import.md.

    The command checks the columns of all files and shows the mapping and the first row before it sends anything.

    Example: `sway import ratings/ --map item_id=movieId --set action=rate --time-unit s --create --dry-run`
    """
    from sway.load.importer import Importer, check_files
    from sway.load.log_files import find_files, parse_position
    from sway.load.mapping import parse

    settings = load_settings()
    target, name = to.target, topic or to.topic(settings.topics)
    files = find_files(source, pattern)
    place = parse_position(start, files) if start is not None else None
    checked = check_files(files, parse(target.record_type, columns or [], constants or [], attributes))
    codec = codec_for(target.record_type, name, settings.wire)
    _show(Importer(target, codec, time_unit=time_unit), checked, target, on_error)
    if dry_run:
        return
    keeps_ms = _retention_ms(settings, name, create=create)
    importer = Importer(
        target,
        codec,
        time_unit=time_unit,
        use_own_time=not now,
        oldest_ms=oldest_ms(int(time.time() * 1000), keeps_ms, use_own_time=not now),
    )
    _load(
        importer,
        checked,
        Sender(settings.kafka.client_config(), name),
        name,
        BadRows(skip=on_error is OnError.SKIP),
        place,
    )


def _show(importer: "Importer", files: "list[CheckedFile]", target: Target, on_error: OnError) -> None:
    """Show the mapping and the first row. Raises CommandError if that row is invalid and on_error is STOP."""
    shown = files[0]
    first = importer.first_record(shown)
    record: dict[str, Any] = {} if first is None or isinstance(first, str) else asdict(first)
    describe = shown.sources.describe(shown.log.columns)
    table = Table(
        "field", "read from", "first row", title=escape(f"{shown.file.name}, 1 of {len(files)} files")
    )
    for field in target.record_type.__slots__:
        value = repr(record[field]) if field in record else ""
        table.add_row(field, escape(describe.get(field, "")), escape(value))
    Console().print(table)
    different = [file.file.name for file in files if file.sources.describe(file.log.columns) != describe]
    if different:
        typer.echo(
            f"{len(different)} files have other columns and a mapping of their own, starting with {different[0]}",
            err=True,
        )
    if isinstance(first, str):
        message = f"{shown.file.name}, {first}"
        if on_error is OnError.STOP:
            raise CommandError(f"{message}. Nothing was sent; `--on-error skip` skips invalid rows")
        typer.echo(message, err=True)


def _retention_ms(settings: Settings, topic: str, *, create: bool) -> int | None:
    cluster = Cluster(settings.kafka)
    if topic not in cluster.view().partition_counts:
        if not create:
            raise CommandError(f"there is no topic {topic}: `--create` creates it, with unlimited retention")
        plan = TopicPlan(topic, settings.topics.partitions, UNLIMITED_RETENTION)
        cluster.create([plan], settings.topics.replication)
    return cluster.retention_ms(topic)


def _load(
    importer: "Importer",
    files: "list[CheckedFile]",
    sender: Sender,
    topic: str,
    bad_rows: BadRows,
    start: "RowPosition | None",
) -> None:
    """Import with a progress bar, then flush and report progress, also after an error or Ctrl-C."""
    started = time.monotonic()
    size = sum(checked.file.path.stat().st_size for checked in files)
    try:
        with progress_bar(TextColumn("{task.fields[rate]}")) as progress:
            bar = progress.add_task(topic, total=size, rate="")

            def show(done: int) -> None:
                rate = sender.acknowledged / max(time.monotonic() - started, 0.001)
                progress.update(bar, completed=done, rate=f"{rate:,.0f}/s")

            importer.load(
                files,
                sender,
                lambda at, problem: bad_rows.report(f"{at.name}, line {at.line}", problem),
                show,
                start,
            )
    finally:
        _finish(importer, sender, topic, started)


def _finish(importer: "Importer", sender: Sender, topic: str, started: float) -> None:
    try:
        sender.flush()
    finally:
        text = summary(sender.acknowledged, topic, started, importer.skipped)
        place = sender.first_failed or importer.next_position
        if place is not None:
            text += f"\nall rows before {place} were imported; resume with --from {place}"
        typer.echo(text, err=True)
