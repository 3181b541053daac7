"""Progress output: one line per tenth of a stage."""

_shown: set[tuple[str, int]] = set()


def show(stage: str, done: int, of: int) -> None:
    """Print the progress of a stage, once per tenth."""
    tenth = 10 * done // max(of, 1)
    if (stage, tenth) not in _shown:
        _shown.add((stage, tenth))
        print(f"{stage}: {done:,} of {of:,}", flush=True)
