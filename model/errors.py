"""Errors of the model package, in one tree.

ModelError
├── TokenizerIncompatible    a tokenizer whose pieces depend on their neighbours
├── RegistryError            the registry, or an artefact in it
│   ├── ModelMissing         no such version, or no champion yet
│   ├── ModelCorrupt         a file is not what its manifest says
│   ├── ModelIncompatible    intact, but not a model that this code can run
│   └── PromotionConflict    the champion is another than expected, or changed meanwhile
└── ScoringError             the micro-batcher
    ├── ModelOutputError     one text came out as NaN or infinity
    ├── OutOfMemory          one text alone did not fit in memory, several times
    ├── DeviceError          not the text: the device or the model is broken, and so is the batcher
    └── BatcherClosed        submitted after close(), or dropped by it
"""


# ruff: noqa: N818 -- the tree says that they are errors; ModelMissing reads better where it is caught


class ModelError(Exception):
    """Root of all errors of the model package."""


class TokenizerIncompatible(ModelError):
    """The tokenizer does not give a behaviour the same ids alone and among its neighbours."""


class RegistryError(ModelError):
    """The registry, or an artefact in it, cannot be used."""


class ModelMissing(RegistryError):
    """There is no such version in the registry, or no champion yet."""


class ModelCorrupt(RegistryError):
    """A file of a version is missing, is not listed, or has another hash than its manifest says."""


class ModelIncompatible(RegistryError):
    """The artefact is intact, but this code cannot run it."""


class PromotionConflict(RegistryError):
    """The champion is another than expected, or somebody else promoted meanwhile."""


class ScoringError(ModelError):
    """A text, or the whole micro-batcher, could not score."""


class ModelOutputError(ScoringError):
    """The model returned NaN or infinity for this text, alone and with the device known to be good."""


class OutOfMemory(ScoringError):
    """One text alone did not fit in the device's memory, several times in a row."""


class DeviceError(ScoringError):
    """A known-good text failed as well: the device is broken, nothing can be scored any more."""


class BatcherClosed(ScoringError):
    """The micro-batcher is closed; what was still waiting is not scored."""
