"""The recommended dtype of the model, from measurements."""

from collections.abc import Sequence
from dataclasses import dataclass

from sway.doctor.findings import Finding, ok, warn

CHECK = "dtypes"
SETTING = "SWAY_MODEL__DTYPE"
SETTABLE = ("fp32", "bf16", "fp16")

# Required speed-up over fp32 for a dtype that changes the scores slightly.
_MIN_SPEED_UP = 1.1
# Speed-up over the configured dtype that is worth a warning.
_WARN_SPEED_UP = 1.2


@dataclass(frozen=True, slots=True)
class Measured:
    """The speed of one dtype in texts per second, or the reason why it was not measured."""

    dtype: str
    texts_per_s: float | None
    why_not: str = ""


def recommend(measured: Sequence[Measured]) -> str:
    """Return the fastest dtype that can be configured; fp32, which is exact, unless another is clearly faster."""
    rates = {m.dtype: m.texts_per_s for m in measured if m.texts_per_s is not None and m.dtype in SETTABLE}
    if not rates:
        return "fp32"
    best = max(rates, key=rates.__getitem__)
    exact = rates.get("fp32")
    return best if exact is None or rates[best] >= _MIN_SPEED_UP * exact else "fp32"


def judge(measured: Sequence[Measured], *, configured: str, in_use: str, where: str) -> Finding:
    """Return a finding on the measured speeds: a warning if another dtype is much faster.

    configured: the setting, which may be `auto`. in_use: the dtype it resolves to. where: a description of the machine.
    """
    best = recommend(measured)
    rates = {m.dtype: m.texts_per_s for m in measured if m.texts_per_s is not None}
    found = f"{', '.join(map(_speed, measured))}; {where}"
    best_rate, rate = rates.get(best), rates.get(in_use)
    if best == in_use or best_rate is None or (rate is not None and best_rate < _WARN_SPEED_UP * rate):
        return ok(CHECK, f"{found}. {SETTING}={configured} ({in_use}) is a good choice")
    slower = "was not measured" if rate is None else f"scores {rate:.3g} texts/s"
    return warn(
        CHECK,
        f"{found}. {SETTING}={configured} uses {in_use}, which {slower}",
        f"set {SETTING}={best} for {best_rate:.3g} texts/s",
    )


def busy_note(load: float, cores: int) -> str:
    """Return a note if the load exceeds the cores, because the speeds are then too low; else an empty string."""
    return (
        f"; the machine is busy (load {load:.1f} on {cores} cores), so measure again" if load > cores else ""
    )


def _speed(measured: Measured) -> str:
    if measured.texts_per_s is None:
        return f"{measured.dtype} not measured: {measured.why_not}"
    note = "" if measured.dtype in SETTABLE else " (not configurable)"
    return f"{measured.dtype} {measured.texts_per_s:.3g} texts/s{note}"
