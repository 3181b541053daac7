"""Untrusted text, made safe for a terminal."""

_MAX_TEXT = 100


def printable(value: str) -> str:
    """Truncate a text, escape its control characters, and quote it if it is empty or has spaces."""
    cut = value if len(value) <= _MAX_TEXT else value[: _MAX_TEXT - 1] + "…"
    plain = cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")
    return f'"{plain}"' if not plain or " " in plain else plain
