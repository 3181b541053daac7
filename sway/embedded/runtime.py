"""The runtime of the embedded Kafka: Java and Kafka's jars."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sway.embedded.artifacts import ArtifactCache, Progress, parse_lock
from sway.embedded.class_archive import ClassArchive
from sway.embedded.java import Java, find_java

KAFKA_VERSION = "4.2.1"

_LOCK = Path(__file__).with_name("kafka.lock")

# C1 only: the broker is ready sooner and uses half the CPU of its first minutes. On two cores, its throughput and the
# speed of small transactions are the same as with C2.
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class KafkaRuntime:
    """A Java runtime, Kafka's verified jars, and their class data archive."""

    java: Java
    jars: tuple[Path, ...]
    archive: ClassArchive

    @classmethod
    def prepare(cls, cache: ArtifactCache, on_fetch: Progress | None = None) -> Self:
        """Find a Java runtime and download missing jars.

        Raises JavaNotFoundError before any download, or ArtifactError.
        """
        java = find_java()
        jars = cache.paths(parse_lock(_LOCK.read_text("utf-8")), on_fetch)
        return cls(java, jars, ClassArchive(cache.folder / "classes", java, jars))

    def command(self, heap_mb: int, options: Sequence[str], main: Sequence[str]) -> list[str | Path]:
        """Return a command line. options: JVM options. main: the main class and its arguments."""
        class_path = ":".join(str(jar) for jar in self.jars)
        return [self.java.executable, f"-Xmx{heap_mb}m", *_JVM_OPTIONS, *options, "-cp", class_path, *main]
