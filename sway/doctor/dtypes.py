"""Which type the model should run in, from what was measured. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sway.doctor.findings import Finding, ok, warn

CHECK = "dtypes"
SETTING = "SWAY_MODEL__DTYPE"
SETTABLE = ("fp32", "bf16", "fp16")

_WORTH_IT = 1.1  # a type that changes the scores a little must be at least so much faster than fp32
_MUCH_FASTER = 1.2


@dataclass(frozen=True, slots=True)
class Measured:
    """One type: texts a second, or why it was not measured."""

    dtype: str
    texts_per_s: float | None
    why_not: str = ""


def recommend(measured: Sequence[Measured]) -> str:
    """Return the fastest type that can be set; fp32, the exact one, unless another is clearly faster."""
    rates = {m.dtype: m.texts_per_s for m in measured if m.texts_per_s is not None and m.dtype in SETTABLE}
    if not rates:
        return "fp32"
    best = max(rates, key=rates.__getitem__)
    exact = rates.get("fp32")
    return best if exact is None or rates[best] >= _WORTH_IT * exact else "fp32"


def judge(measured: Sequence[Measured], *, configured: str, in_use: str, where: str) -> Finding:
    """Say what was measured and whether another type would be much faster.

    configured: the setting, perhaps `auto`; in_use: what that comes to. where: on what, in words.
    """
    best = recommend(measured)
    rates = {m.dtype: m.texts_per_s for m in measured if m.texts_per_s is not None}
    found = f"{', '.join(map(_told, measured))}; {where}"
    best_rate, rate = rates.get(best), rates.get(in_use)
    if best == in_use or best_rate is None or (rate is not None and best_rate < _MUCH_FASTER * rate):
        return ok(CHECK, f"{found}. {SETTING}={configured} ({in_use}) is right")
    slower = "was not measured" if rate is None else f"gives {rate:.3g}"
    return warn(
        CHECK,
        f"{found}. {SETTING}={configured} runs {in_use}, which {slower}",
        f"set {SETTING}={best} for {best_rate:.3g} texts/s",
    )


def busy_words(load: float, cores: int) -> str:
    """Return a warning if other programs want the cores too: the figures are low then, and may mislead."""
    return (
        f"; the machine is busy (load {load:.1f} on {cores} cores), so measure again" if load > cores else ""
    )


def _told(measured: Measured) -> str:
    if measured.texts_per_s is None:
        return f"{measured.dtype} not measured: {measured.why_not}"
    note = "" if measured.dtype in SETTABLE else " (cannot be set)"
    return f"{measured.dtype} {measured.texts_per_s:.3g} texts/s{note}"
