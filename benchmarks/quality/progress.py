"""Progress in lines: each tenth of a stage once."""

_told: set[tuple[str, int]] = set()


def show(stage: str, done: int, of: int) -> None:
    """Tell how far a stage is, if a further tenth of it is done."""
    tenth = 10 * done // max(of, 1)
    if (stage, tenth) not in _told:
        _told.add((stage, tenth))
        print(f"{stage}: {done:,} of {of:,}", flush=True)
