"""Hugging Face model classes, without imports that Sway does not need.

Importing any model imports text generation, which imports scikit-learn, and the losses of object detection, which
import SciPy, if they are installed. These are 70 MB of memory that no worker uses, so Transformers is made to treat
both as not installed.
"""

from transformers import utils

# Must precede the import of the names below, which loads their modules lazily.
for _check in ("is_scipy_available", "is_sklearn_available"):
    setattr(utils, _check, lambda: False)

from transformers import AutoModel, PretrainedConfig, PreTrainedModel  # noqa: E402

__all__ = ["AutoModel", "PreTrainedModel", "PretrainedConfig"]
