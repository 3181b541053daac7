"""Start-up time and memory of the embedded Schema Registry: `python -m benchmarks.registry_start`.

The first start in a new folder creates the tables; later starts read them.
"""

import os
import tempfile
import time
from pathlib import Path

import psutil

from sway.embedded import REGISTRY_VERSION, EmbeddedRegistry

STARTS = 4


def main() -> None:
    """Start the registry several times on one folder and print a line for each start."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Apicurio Registry {REGISTRY_VERSION}, {os.cpu_count()} cores, load before: {load}")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(STARTS):
            started = time.monotonic()
            with EmbeddedRegistry(Path(folder)) as registry:
                answers_s = time.monotonic() - started
                process = psutil.Process(registry.pid)
                cpu, resident_mb = process.cpu_times(), process.memory_info().rss / 1e6
                stopping = time.monotonic()
            print(
                f"start {number + 1}: ready after {answers_s:.1f} s, {cpu.user + cpu.system:.1f} s of CPU, "
                f"{resident_mb:.0f} MB resident; stopped in {time.monotonic() - stopping:.1f} s"
            )


if __name__ == "__main__":
    main()
