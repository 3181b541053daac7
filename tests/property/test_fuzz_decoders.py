"""Mutated encodings checked by the oracle of `make fuzz`: decoding gives a record or a DecodeError, nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoder import CHECKS, NAMES, check, seeds

SEEDS = list(seeds())
# Records from outside, and those with a reader of their own: drawn more often.
_MOST_EXPOSED = ("BehaviorEvent", "Outcome", "Window window", "PendingLabel pending")
OFTEN = [seed for seed in SEEDS if NAMES[seed[0]].startswith(_MOST_EXPOSED)]
positions = st.integers(0, 1 << 16)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Draw a valid input with bits flipped, bytes removed, inserted or repeated, or part of another input."""
    seed = draw(st.sampled_from(SEEDS) | st.sampled_from(OFTEN))
    choice, value = seed[:1], bytearray(seed[1:])
    for kind in draw(
        st.lists(st.sampled_from(["flip", "cut", "insert", "splice", "repeat", "end", "append"]), max_size=4)
    ):
        start = draw(positions) % (len(value) + 1)
        end = min(len(value), start + draw(st.integers(0, 20)))
        if kind == "flip" and start < len(value):
            value[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del value[start:end]
        elif kind == "end":
            del value[start:]
        elif kind == "insert":
            value[start:start] = draw(st.binary(max_size=12))
        elif kind == "append":
            value += draw(st.binary(min_size=1, max_size=3))
        elif kind == "splice":
            other = draw(st.sampled_from(SEEDS))[1:]
            value[start:end] = other[draw(positions) % len(other) :]
        elif kind == "repeat":
            value[start:end] = value[start:end] * draw(st.integers(2, 50))
    return choice + bytes(value)


def test_every_decoder_has_a_seed_that_it_reads() -> None:
    assert {seed[0] for seed in SEEDS} == set(range(len(NAMES)))
    assert len(NAMES) == len(CHECKS) > 3 * 16
    for seed in SEEDS:
        check(seed)


@settings(max_examples=500, deadline=None)
@given(mutants())
def test_a_mutated_encoding_is_a_record_or_decode_error(data: bytes) -> None:
    check(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(CHECKS) - 1), st.binary(max_size=400))
def test_arbitrary_bytes_are_a_record_or_decode_error(number: int, body: bytes) -> None:
    check(bytes([number]) + body)
