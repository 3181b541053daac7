"""Importing a pure floor loads no client, store or framework.

The import contract checks import statements. These tests check the loaded modules.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CONTRACTS = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PURE = next(one for one in CONTRACTS if one["name"].startswith("Pure floors"))
_IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
    importlib.import_module(found.name)
print(*sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[2:])))
"""


@pytest.mark.parametrize("floor", PURE["source_modules"])
def test_importing_a_pure_floor_loads_no_client(floor: str) -> None:
    command = [sys.executable, "-c", _IMPORT_ALL, floor, *PURE["forbidden_modules"]]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert loaded == []


def test_the_driver_loads_faust() -> None:
    command = [sys.executable, "-c", _IMPORT_ALL, "stream.exactly_once.driver", *PURE["forbidden_modules"]]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "faust" in loaded
