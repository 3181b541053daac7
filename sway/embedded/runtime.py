"""The programs of the embedded stack, ready to run: a Java runtime and Kafka's jars."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sway.embedded.artifacts import ArtifactCache, Progress, parse_lock
from sway.embedded.class_archive import ClassArchive
from sway.embedded.java import Java, find_java

KAFKA_VERSION = "4.2.1"

_LOCK = Path(__file__).with_name("kafka.lock")

# C1 alone: the broker answers sooner and takes half the CPU of its first minutes, and on two cores it moved
# as many records a second and committed small transactions as fast as with C2. docs/embedded.md has figures.
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class KafkaRuntime:
    """A Java runtime, Kafka's verified jars and the class archive that goes with both."""

    java: Java
    jars: tuple[Path, ...]
    archive: ClassArchive

    @classmethod
    def prepare(cls, cache: ArtifactCache, on_fetch: Progress | None = None) -> Self:
        """Find a Java runtime and bring the jars that are missing.

        Raises JavaNotFoundError before anything is fetched, ArtifactError.
        """
        java = find_java()
        jars = cache.paths(parse_lock(_LOCK.read_text("utf-8")), on_fetch)
        return cls(java, jars, ClassArchive(cache.folder / "classes", java, jars))

    def command(self, heap_mb: int, options: Sequence[str], main: Sequence[str]) -> list[str | Path]:
        """Return the command line that runs a main class, followed by its arguments, with these JVM options."""
        class_path = ":".join(str(jar) for jar in self.jars)
        return [self.java.executable, f"-Xmx{heap_mb}m", *_JVM_OPTIONS, *options, "-cp", class_path, *main]
