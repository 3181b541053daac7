"""Modules that a worker does not load."""

import subprocess
import sys

_PROGRAM = """
import sys
import stream.worker
print(sorted({"scipy", "sklearn"} & {name.partition(".")[0] for name in sys.modules}))
"""


def test_a_worker_loads_neither_scipy_nor_scikit_learn() -> None:
    ran = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
