"""Hugging Face's models, without what they load for other tasks than Sway's.

Importing any model brings in text generation, which loads scikit-learn, and the losses of object detection, which load
scipy, wherever these are installed: 70 MB that no worker uses. So Transformers is told that they are not there.
"""

from transformers import utils

# Before the names below are asked for: they are loaded then, and not before.
for _asks in ("is_scipy_available", "is_sklearn_available"):
    setattr(utils, _asks, lambda: False)

from transformers import AutoModel, PretrainedConfig, PreTrainedModel  # noqa: E402

__all__ = ["AutoModel", "PreTrainedModel", "PretrainedConfig"]
