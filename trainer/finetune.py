"""Fine-tuning with the two-head loss.

It trains either all layers, from token ids, or the top k, from cached activations of the frozen layers below.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.metrics import auc
from model.network import TwoHeadedNetwork, two_head_loss
from trainer.adversarial import FastGradient
from trainer.layers import TopNetwork
from trainer.loop import LoopConfig, LoopResult, Run, run_loop
from trainer.rows import Rows

FinetuneResult = LoopResult


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Knobs of fine-tuning.

    learning_rate: of the encoder's layers, at its peak; heads_learning_rate: of the heads.
    warmup: share of the steps. dropout: in the trained layers. seed: of the row order and dropout.
    patience: stop after this many evaluations without a lower loss; 0 never stops early. adversarial_epsilon: the norm
    of the FGM perturbation; 0 for none.
    Raises ValueError for a knob that must be above 0 and is not.
    """

    epochs: float = 2.0
    batch_rows: int = 16
    learning_rate: float = 1e-4
    heads_learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0
    patience: int = 0
    evaluations_per_epoch: int = 2
    adversarial_epsilon: float = 0.0
    bf16: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_rows", "learning_rate", "heads_learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")

    def loop(self) -> LoopConfig:
        """Return the knobs of the training loop."""
        plain = asdict(self)
        del plain["adversarial_epsilon"]
        return LoopConfig(**plain)


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
    trained_layers: int | None = None,
    valid: Rows | None = None,
    run: Run | None = None,
) -> FinetuneResult:
    """Train a network in place.

    trained_layers: train this many top layers and the heads, on ActivationRows made for that number. None trains the
    whole network on rows of texts. rows, valid: of the matching kind.
    """
    trained = network if trained_layers is None else TopNetwork(network, trained_layers)
    adversary = None
    if config.adversarial_epsilon:
        adversary = FastGradient(network.encoder.get_input_embeddings(), config.adversarial_epsilon)
    result = run_loop(
        trained,
        rows,
        TwoHeads(network.settings.lam),
        config.loop(),
        heads=network.heads,
        valid=valid,
        adversary=adversary,
        run=run,
    )
    network.eval()
    return result
