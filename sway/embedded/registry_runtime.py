"""The program of the embedded Schema Registry, ready to run: a Java runtime and Apicurio Registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sway.embedded import ports
from sway.embedded.artifacts import ArtifactCache, Progress, parse_lock
from sway.embedded.java import REGISTRY_NEEDS, Java, find_java
from sway.embedded.unpack import unpacked

REGISTRY_VERSION = "3.3.3"
API_PATH = "/apis/ccompat/v7"  # Confluent's API, as Apicurio Registry serves it
TEMPORARY = "tmp"  # a folder below the working directory

_LOCK = Path(__file__).with_name("registry.lock")
_INSTEAD = "use a Schema Registry of your own (set SWAY_WIRE__REGISTRY_URL)"


@dataclass(frozen=True, slots=True)
class RegistryRuntime:
    """A Java runtime and the unpacked Apicurio Registry."""

    java: Java
    folder: Path

    @classmethod
    def prepare(cls, cache: ArtifactCache, on_fetch: Progress | None = None) -> Self:
        """Find a Java runtime; fetch and unpack the registry if it is missing.

        Raises JavaNotFoundError before anything is fetched, ArtifactError.
        """
        java = find_java(REGISTRY_NEEDS)
        (artifact,) = parse_lock(_LOCK.read_text("utf-8"))
        return cls(java, unpacked(cache, artifact, on_fetch, instead=_INSTEAD))

    def command(self, heap_mb: int, port: int, management_port: int) -> list[str | Path]:
        """Return the command line of a registry on loopback, whose files lie in its working directory."""
        told = {
            "java.io.tmpdir": TEMPORARY,
            # H2, on disk: what was answered is in the file, so that a crash loses no schema and moves no id.
            "apicurio.datasource.url": "jdbc:h2:file:./schemas;WRITE_DELAY=0",
            "apicurio.datasource.jdbc.initial-size": 1,
            "apicurio.datasource.jdbc.min-size": 1,
            "quarkus.http.host": ports.HOST,
            "quarkus.http.port": port,
            # Health and metrics stand on a server of their own, which would listen on all addresses.
            "quarkus.management.host": ports.HOST,
            "quarkus.management.port": management_port,
            "quarkus.http.access-log.enabled": "false",
        }
        return [
            self.java.executable,
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # as for Kafka: half the CPU of the start
            *(f"-D{name}={value}" for name, value in told.items()),
            "-jar",
            self.folder / "quarkus-run.jar",
        ]
