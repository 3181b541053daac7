"""Fine-tuning with the two-head loss.

It trains either all layers, from token ids, or the top k, from cached activations of the frozen layers below.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from model.metrics import auc
from model.network import TwoHeadedNetwork, two_head_loss
from trainer.adversarial import FastGradient
from trainer.config import FinetuneConfig
from trainer.layers import TopNetwork
from trainer.loop import LoopResult, Run, run_loop
from trainer.rows import Rows

FinetuneResult = LoopResult


class TwoHeads:
    """The two-head loss as the loop's objective; evaluated by the loss and by the AUC of y_hat."""

    def __init__(self, lam: float) -> None:
        self._lam = lam

    def loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """See Objective."""
        given = dict(inputs)
        wanted, weights = given.pop("labels"), given.pop("weights", None)
        return two_head_loss(model(**given), wanted[:, 0], wanted[:, 1], self._lam, weights)

    def judge(self, model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Return valid_loss, and valid_auc if there are positive (0.5 and above) and negative outcomes."""
        outputs, wanted = [], []
        for inputs in batches:
            wanted.append(inputs.pop("labels").cpu())
            inputs.pop("weights", None)
            outputs.append(model(**inputs).float().cpu())
        found, labels = torch.cat(outputs), torch.cat(wanted)  # (N, 2) each
        loss = float(two_head_loss(found, labels[:, 0], labels[:, 1], self._lam))
        area = auc(found[:, 0].numpy(), labels[:, 0].numpy() >= 0.5)
        return {"valid_loss": loss} if np.isnan(area) else {"valid_loss": loss, "valid_auc": area}


def finetune(
    network: TwoHeadedNetwork,
    rows: Rows,
    config: FinetuneConfig,
    *,
    valid: Rows | None = None,
    run: Run | None = None,
) -> FinetuneResult:
    """Train a network in place.

    rows, valid: ActivationRows made for config.trained_layers; rows of texts if that is None.
    """
    layers = config.trained_layers
    trained = network if layers is None else TopNetwork(network, layers)
    adversary = None
    if config.adversarial_epsilon:
        adversary = FastGradient(network.encoder.get_input_embeddings(), config.adversarial_epsilon)
    result = run_loop(
        trained,
        rows,
        TwoHeads(network.settings.lam),
        config,
        heads=network.heads,
        valid=valid,
        adversary=adversary,
        run=run,
    )
    network.eval()
    return result
