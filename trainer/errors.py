"""Errors of the trainer package, in one tree.

TrainerError
├── TrainingRefused   the examples, the start and the configuration do not fit together
├── WorkFolderError   the work folder belongs to another training, or is not usable
├── TrackingError     TensorBoard or Weights & Biases is not usable as configured
├── RangeError        a range of sway.examples is permanently unreadable
├── RangeUnavailable  a range of sway.examples is temporarily unreadable
└── ServiceError      the trainer service cannot run as configured
"""

# ruff: noqa: N818 -- the base class shows that they are errors


class TrainerError(Exception):
    """Base class of all errors of the trainer package."""


class TrainingRefused(TrainerError):
    """The examples, the start and the configuration do not fit together."""


class WorkFolderError(TrainerError):
    """The work folder belongs to another training or process, or is not usable."""


class TrackingError(TrainerError):
    """TensorBoard or Weights & Biases is not usable as configured."""


class RangeError(TrainerError):
    """A range of sway.examples is permanently unreadable.

    Retention has deleted it, or a record is no example.
    """


class RangeUnavailable(TrainerError):
    """A range of sway.examples is temporarily unreadable: no record arrived. A retry may succeed."""


class ServiceError(TrainerError):
    """The trainer service cannot run as configured."""
