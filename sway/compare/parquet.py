"""Reading of scores and labels from the Parquet files of a replay."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sway.compare.labels import LABEL_SCHEMA, Labels
from sway.compare.scores import SCORE_SCHEMA, Scores, cast_to_schema, missing_columns
from sway.errors import CommandError

_UNFINISHED = ("_", ".")
"""Name prefixes of incomplete files and of metadata that other programs write beside the data."""


def read_scores(path: Path) -> Scores:
    """Read one file, or a folder (FOLDER/scores or the files in FOLDER itself) in path order.

    Raises CommandError if there are no scores, or a file cannot be read.
    """
    return Scores.from_table(str(path), _read(path, "scores", SCORE_SCHEMA))


def read_labels(path: Path) -> Labels:
    """Read y, event_id and, if all files have it, user_id from FOLDER/examples, FOLDER or a file; may return no rows.

    Raises CommandError if no file has these columns, or a file cannot be read.
    """
    nameless = LABEL_SCHEMA.remove(LABEL_SCHEMA.get_field_index("user_id"))
    files = _files(path, "examples", nameless)
    with_users = all("user_id" in _columns(file) for file in files)
    return Labels.from_table(str(path), _table(files, LABEL_SCHEMA if with_users else nameless))


def has_examples(path: Path) -> bool:
    """Return whether this is a folder with the examples of a replay."""
    return bool(_below(path / "examples"))


def _read(path: Path, kind: str, schema: pa.Schema) -> pa.Table:
    return _table(_files(path, kind, schema), schema)


def _files(path: Path, kind: str, schema: pa.Schema) -> list[Path]:
    """Return the files to read; among the files of the folder itself, those with the columns of the schema."""
    if path.is_file():
        return [path]
    if found := _below(path / kind):
        return found
    direct = sorted(file for file in path.glob("*.parquet") if not file.name.startswith(_UNFINISHED))
    if found := [file for file in direct if not missing_columns(_columns(file), schema)]:
        return found
    if direct:
        absent = ", ".join(missing_columns(_columns(direct[0]), schema))
        raise CommandError(f"no file in {path} contains {kind}: {direct[0].name} lacks the columns {absent}")
    raise CommandError(
        f"{path} contains no {kind}: neither {kind}/*.parquet, as written by `sway replay`, nor *.parquet"
    )


def _below(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*.parquet")
        if not any(part.startswith(_UNFINISHED) for part in file.relative_to(folder).parts)
    )


def _table(files: list[Path], schema: pa.Schema) -> pa.Table:
    repeating = {field.name for field in schema if pa.types.is_dictionary(field.type)}
    tables = []
    for path in files:
        # Arrow raises an error without a column name if one of these is absent.
        known = repeating.intersection(_columns(path))
        try:
            with pq.ParquetFile(path, read_dictionary=list(known)) as file:
                table = file.read(columns=schema.names)
        except (OSError, pa.ArrowException) as exc:
            raise CommandError(f"cannot read {path} as Parquet: {exc}") from exc
        tables.append(cast_to_schema(str(path), table, schema))
    return pa.concat_tables(tables)


def _columns(path: Path) -> list[str]:
    try:
        with pq.ParquetFile(path) as file:
            return list(file.schema_arrow.names)
    except (OSError, pa.ArrowException) as exc:
        raise CommandError(f"cannot read {path} as Parquet: {exc}") from exc
