"""Errors of the trainer package, in one tree.

TrainerError
├── TrainingRefused   these examples, this start and this configuration do not go together
├── WorkFolderError   the work folder holds another training, or cannot be used
├── TrackingError     TensorBoard or Weights & Biases cannot be used as asked
├── RangeError        a range of sway.examples cannot be read, now or later
├── RangeUnavailable  a range of sway.examples cannot be read for now
└── ServiceError      the trainer service cannot work as configured
"""

# ruff: noqa: N818 -- the tree says that they are errors


class TrainerError(Exception):
    """Root of all errors of the trainer package."""


class TrainingRefused(TrainerError):
    """These examples, this start and this configuration do not go together."""


class WorkFolderError(TrainerError):
    """The work folder holds another training, or cannot be used."""


class TrackingError(TrainerError):
    """TensorBoard or Weights & Biases cannot be used as asked."""


class RangeError(TrainerError):
    """A range of sway.examples cannot be read, now or later: retention has passed it, or it holds something else."""


class RangeUnavailable(TrainerError):
    """A range of sway.examples cannot be read for now: no record came. Try again later."""


class ServiceError(TrainerError):
    """The trainer service cannot work as configured."""
