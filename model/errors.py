"""Exceptions of the model package.

ModelError
├── TokenizerIncompatible    the tokenizer's ids of a text depend on its neighbours
├── RegistryError            the registry, or an artefact in it, cannot be used
│   ├── ModelMissing         the version does not exist, or there is no champion yet
│   ├── ModelCorrupt         a file does not match its manifest
│   ├── ModelIncompatible    the files are intact, but this version of Sway cannot run the model
│   └── PromotionConflict    the champion is not the expected one, or changed concurrently
└── ScoringError             a text, or the whole micro-batcher, failed
    ├── ModelOutputError     the output for one text is NaN or infinite
    ├── OutOfMemory          a single text did not fit in memory, several times
    ├── DeviceError          the device or the model is broken; the micro-batcher is unusable
    └── BatcherClosed        the text was submitted after close(), or dropped by it
"""


# ruff: noqa: N818 -- the base class names them errors; ModelMissing reads better in an except clause


class ModelError(Exception):
    """Base class of all exceptions of the model package."""


class TokenizerIncompatible(ModelError):
    """The tokenizer's ids of a behaviour depend on the neighbouring text."""


class RegistryError(ModelError):
    """The registry, or an artefact in it, cannot be used."""


class ModelMissing(RegistryError):
    """The version does not exist in the registry, or there is no champion yet."""


class ModelCorrupt(RegistryError):
    """A file of a version is missing, not listed in the manifest, or has another hash than listed."""


class ModelIncompatible(RegistryError):
    """The files are intact, but this version of Sway cannot run the model."""


class PromotionConflict(RegistryError):
    """The champion is not the expected one, or another promotion happened concurrently."""


class ScoringError(ModelError):
    """A text could not be scored, or the whole micro-batcher failed."""


class ModelOutputError(ScoringError):
    """The model returned NaN or infinity for this text when scored alone, and the device works."""


class OutOfMemory(ScoringError):
    """A single text did not fit in the device's memory, several times in a row."""


class DeviceError(ScoringError):
    """A known-good text failed too: the device or the model is broken, and nothing can be scored."""


class BatcherClosed(ScoringError):
    """The micro-batcher is closed; queued texts are not scored."""
