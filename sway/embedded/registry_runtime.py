"""The runtime of the embedded Schema Registry: Java and Apicurio Registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sway.embedded import ports
from sway.embedded.artifacts import ArtifactCache, Progress, parse_lock
from sway.embedded.java import REGISTRY_NEEDS, Java, find_java
from sway.embedded.unpack import unpacked

REGISTRY_VERSION = "3.3.3"
# The Confluent API of Apicurio Registry.
API_PATH = "/apis/ccompat/v7"
# The temporary folder, relative to the working directory.
TEMPORARY = "tmp"

_LOCK = Path(__file__).with_name("registry.lock")
_INSTEAD = "use another Schema Registry (set SWAY_WIRE__REGISTRY_URL)"


@dataclass(frozen=True, slots=True)
class RegistryRuntime:
    """A Java runtime and the unpacked Apicurio Registry."""

    java: Java
    folder: Path

    @classmethod
    def prepare(cls, cache: ArtifactCache, on_fetch: Progress | None = None) -> Self:
        """Find a Java runtime; download and unpack the registry if it is missing.

        Raises JavaNotFoundError before any download, or ArtifactError.
        """
        java = find_java(REGISTRY_NEEDS)
        (artifact,) = parse_lock(_LOCK.read_text("utf-8"))
        return cls(java, unpacked(cache, artifact, on_fetch, instead=_INSTEAD))

    def command(self, heap_mb: int, port: int, management_port: int) -> list[str | Path]:
        """Return the command line of a registry on loopback, with its files in the working directory."""
        properties = {
            "java.io.tmpdir": TEMPORARY,
            # H2 on disk with immediate writes, so that a crash loses no registered schema and changes no id.
            "apicurio.datasource.url": "jdbc:h2:file:./schemas;WRITE_DELAY=0",
            "apicurio.datasource.jdbc.initial-size": 1,
            "apicurio.datasource.jdbc.min-size": 1,
            "quarkus.http.host": ports.HOST,
            "quarkus.http.port": port,
            # The server for health and metrics would listen on all addresses by default.
            "quarkus.management.host": ports.HOST,
            "quarkus.management.port": management_port,
            "quarkus.http.access-log.enabled": "false",
        }
        return [
            self.java.executable,
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            # As for Kafka, this halves the CPU time of the start.
            "-XX:TieredStopAtLevel=1",
            *(f"-D{name}={value}" for name, value in properties.items()),
            "-jar",
            self.folder / "quarkus-run.jar",
        ]
