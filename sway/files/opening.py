"""Opening of a file by its extension."""

import csv
from pathlib import Path

from sway.errors import CommandError
from sway.files.rows import RowFile
from sway.files.text import CsvFile, JsonFile

_TEXTS: dict[str, type[CsvFile] | type[JsonFile]] = {".csv": CsvFile, ".jsonl": JsonFile, ".ndjson": JsonFile}


def open_rows(path: Path) -> RowFile:
    """Open a file with the extension .parquet, .csv, .jsonl or .ndjson.

    Raises CommandError if the file cannot be opened or has another extension.
    """
    if path.suffix.lower() not in {".parquet", *_TEXTS}:
        raise CommandError(f"{path} is not a .parquet, .csv or .jsonl file: rename or convert it")
    return open_file(path, str(path))


def open_file(path: Path, name: str) -> RowFile:
    """Open a file of one of these formats, whose text formats may also end in .gz.

    name: the name of the file in messages. Raises CommandError if the file cannot be opened.
    """
    extension = Path(path.name.lower().removesuffix(".gz")).suffix
    try:
        if extension == ".parquet":
            # Imported here because Arrow takes a quarter of a second to import.
            from sway.files.parquet import ParquetFile

            return ParquetFile(path, name)
        return _TEXTS[extension](path, name)
    except (OSError, EOFError, ValueError, csv.Error) as exc:
        raise CommandError(f"cannot read {name}: {exc}") from exc
