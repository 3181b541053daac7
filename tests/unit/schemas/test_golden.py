"""Values of every published version stay readable, and the newest version is written byte for byte as before."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import records
from schemas.contracts import current, published
from schemas.convert import from_mapping
from schemas.records import RECORD_TYPES
from schemas.wire import Codec
from tests.golden.make import FORMATS, GOLDEN, OneSchemaResolver, make_golden
from tests.golden.samples import SAMPLES

STEMS = sorted(file.name.removesuffix(".json") for file in GOLDEN.glob("*.json"))


def expected_of(stem: str) -> tuple[int, Any]:
    expected = json.loads((GOLDEN / f"{stem}.json").read_text(encoding="utf-8"))
    record_type = getattr(records, stem.partition(".")[0])
    mapping = expected["record"]
    for field in current(record_type)["fields"]:
        if field["type"] in ("bytes", ["null", "bytes"]) and mapping.get(field["name"]) is not None:
            mapping[field["name"]] = bytes.fromhex(mapping[field["name"]])
    return expected["schema_id"], from_mapping(record_type, mapping)


def test_every_published_version_has_a_golden_file() -> None:
    versions = [
        f"{record_type.__name__}.v{number}"
        for record_type in RECORD_TYPES
        for number in range(1, len(published(record_type)) + 1)
    ]
    assert sorted(versions) == STEMS, "python -m tests.golden.make"


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_golden_file_reads_as_its_record(stem: str, wire_format: str) -> None:
    name, _, number = stem.partition(".v")
    record_type = getattr(records, name)
    schema_id, expected = expected_of(stem)
    resolver = OneSchemaResolver(schema_id, published(record_type)[int(number) - 1])
    codec: Codec[Any] = Codec(record_type, resolver=resolver)
    assert codec.decode((GOLDEN / f"{stem}.{wire_format}.bin").read_bytes()) == expected


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_the_newest_golden_file_is_what_is_written_today(record: Any) -> None:
    record_type = type(record)
    stem = f"{record_type.__name__}.v{len(published(record_type))}"
    schema_id, expected = expected_of(stem)
    for wire_format in FORMATS:
        resolver = OneSchemaResolver(schema_id, published(record_type)[-1])
        codec: Codec[Any] = Codec(record_type, resolver=resolver, write=wire_format, subject="golden")
        assert codec.encode(expected) == (GOLDEN / f"{stem}.{wire_format}.bin").read_bytes()


def test_making_golden_files_keeps_existing_ones() -> None:
    before = {file: file.read_bytes() for file in Path(GOLDEN).iterdir() if file.is_file()}
    assert [make_golden(record, len(published(type(record)))) for record in SAMPLES] == [[]] * len(SAMPLES)
    assert {file: file.read_bytes() for file in Path(GOLDEN).iterdir() if file.is_file()} == before
