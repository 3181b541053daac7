"""The CPU features that matter for the dtype of the model.

On a CPU, bf16 is twice as fast as fp32 with AVX512-BF16, and many times slower without it.
"""

_WANTED = {
    "avx2": frozenset({"avx2"}),
    "avx512": frozenset({"avx512f"}),
    "avx512_bf16": frozenset({"avx512_bf16"}),
    "amx": frozenset({"amx_bf16", "amx_int8"}),
}


def flags_in(cpuinfo: str) -> frozenset[str]:
    """Return the flags of the first CPU in the text of /proc/cpuinfo; empty if it lists none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def describe(flags: frozenset[str]) -> str:
    """Return a phrase such as `CPU with avx2, without avx512, avx512_bf16, amx`."""
    if not flags:
        return "CPU flags unknown"
    present = [name for name, any_of in _WANTED.items() if flags & any_of]
    absent = [name for name in _WANTED if name not in present]
    return f"CPU with {', '.join(present) or 'none of these'}" + (
        f", without {', '.join(absent)}" if absent else ""
    )
