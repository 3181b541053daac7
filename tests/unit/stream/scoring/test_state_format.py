"""State of a newer version is refused with advice. Broken state is a different error."""

from pathlib import Path
from typing import Any

import pytest

from model.tokens import BehaviourTokenizer
from schemas.contracts import current, fingerprint
from schemas.errors import DecodeError, SchemaError
from schemas.state_records import ItemRate, JoinClock, PendingLabel, Window
from schemas.wire import Codec
from stream.exactly_once import ExactlyOnceApp, ExactlyOnceConfig
from stream.exactly_once.units.errors import StateFormatError
from stream.scoring.behaviours import WindowCodec
from stream.scoring.labels.state import StateCodec, pending_codec

NEWER_VALUE = b"\xc3\x01laterfmt" + b"\x00" * 8
NEWER_FINGERPRINT = b"laterfmt".hex()


def known(kind: type[Any]) -> str:
    return rf"{kind.__name__} 1 \({fingerprint(current(kind)).hex()}\)"


def test_a_window_of_a_newer_version_is_refused(tokenizer: BehaviourTokenizer) -> None:
    with pytest.raises(
        StateFormatError, match=rf"fingerprint {NEWER_FINGERPRINT},.* knows {known(Window)}\. .*Upgrade"
    ):
        WindowCodec(tokenizer).loads(NEWER_VALUE)


def test_label_state_of_a_newer_version_is_refused() -> None:
    with pytest.raises(
        StateFormatError, match=rf"{NEWER_FINGERPRINT}.*{known(PendingLabel)}.*{known(JoinClock)}"
    ):
        pending_codec().loads(NEWER_VALUE)


@pytest.mark.parametrize("raw", [b"", b"\xc3\x01", b"junk", Codec(ItemRate).encode(ItemRate(1, 1, 1.0))])
def test_broken_state_is_a_decode_error(raw: bytes, tokenizer: BehaviourTokenizer) -> None:
    for loads in (WindowCodec(tokenizer).loads, StateCodec(PendingLabel).loads):
        with pytest.raises(SchemaError) as caught:
            loads(raw)
        assert isinstance(caught.value, DecodeError)


class Store:
    """Holds one value under every key."""

    def get(self, table: str, key: bytes) -> bytes:
        assert (table, key) == ("items", b"alien")
        return NEWER_VALUE


def test_the_error_names_the_partition_and_the_changelog(tmp_path: Path) -> None:
    config = ExactlyOnceConfig(["t.events"], tmp_path, {"bootstrap.servers": "127.0.0.1:9"})
    codec = StateCodec(ItemRate)
    table = ExactlyOnceApp("app", config).layered_table("items", dumps=codec.dumps, loads=codec.loads)
    stores: Any = {3: Store()}
    table.use_stores(stores)
    with pytest.raises(
        StateFormatError,
        match=rf"^Cannot read table items of partition 3 \(app-items-changelog\[3\]\): .*{NEWER_FINGERPRINT}",
    ):
        table.get_in(3, b"alien")
