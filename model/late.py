"""The network of the late reading: attention over vectors of the history, added to what the features give.

    key_h   = K_t t_h + K_i v_h              t: text vector (384), v: item vector (32)
    value_h = gelu(V_t t_h + V_i v_h + V_o [known, grade, residual, log gap])
    a       = softmax over h of (q . key_h / sqrt(k) - decay * log gap_h), and of one learned key for "nothing"
    n       = MLP features          features: the numbers of model.features.names, standardised
    y_hat, z_hat = sigmoid(W n + b + W' MLP' [n, sum_h a_h value_h, T t, v])

The query q comes from the behaviour being scored, whose vectors are t and v. Each head attends separately, with k
dimensions and its own decay >= 0. The vectors' part is added to the features' part, and W' starts at zero, so
uninformative vectors do not change the output. Each distinct text is projected once, however many behaviours have it.

Source: G. Zhou et al., 2018, "Deep Interest Network for Click-Through Rate Prediction", KDD (attention from the target
over the history).
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from model.errors import ModelIncompatible
from model.features.history import PAST_COLUMNS
from model.features.items import ITEM_DIMENSIONS
from model.features.names import FEATURES, FEATURES_VERSION

WEIGHTS_FILE = "late.safetensors"
SETTINGS_FILE = "late.json"
_CLIP = 4.0  # standard deviations
_INPUTS = 3


class Loss(StrEnum):
    """The training loss of y_hat and z_hat: cross-entropy, or the squared error of the source method."""

    BCE = "bce"
    MSE = "mse"


@dataclass(frozen=True, slots=True)
class LateSettings:
    """Settings stored with the weights of a late network.

    text_width: dimension of the text vectors. width: dimension of keys and values, over all heads.
    tower: width of the hidden layers. text, items, history: whether the network reads these inputs.
    columns: indices of the features it reads.
    input_dropout: probability that a training row lacks one whole input. lam: the weight of z in the loss, >= 0.
    behaviours: the number of newest behaviours that it attends to.
    """

    text_width: int = 384
    width: int = 32
    heads: int = 4
    tower: int = 64
    dropout: float = 0.1
    input_dropout: float = 0.1
    lam: float = 0.5
    loss: Loss = Loss.BCE
    text: bool = True
    items: bool = True
    history: bool = True
    columns: tuple[int, ...] = tuple(range(len(FEATURES)))
    features_version: int = FEATURES_VERSION
    behaviours: int = 50

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")
        if self.behaviours < 1:
            raise ValueError(f"behaviours={self.behaviours} must be at least 1")
        if not 0 <= self.lam < float("inf"):
            raise ValueError(f"lam={self.lam} must be finite and not below 0")
        if self.features_version != FEATURES_VERSION:
            raise ValueError(
                f"features_version={self.features_version}, but this version of Sway has {FEATURES_VERSION}"
            )


class LateInputs(NamedTuple):
    """Inputs of B rows with up to H past behaviours. Texts and items are row indices into tables of vectors.

    numbers: float32 (B, F), the features. text, item: int64 (B,). past_text, past_item: int64 (B, H); past_text is -1
    where there is no behaviour, at any position. past: float32 (B, H, 4): known, grade, residual, log gap.
    """

    numbers: Tensor
    text: Tensor
    item: Tensor
    past_text: Tensor
    past_item: Tensor
    past: Tensor


class LateNetwork(nn.Module):
    """The late network, with the logits of y and z as outputs; see the module's docstring.

    Both output layers start at zero, so an untrained network returns .5 for every row.
    """

    mean: Tensor
    scale: Tensor
    columns: Tensor

    def __init__(self, settings: LateSettings) -> None:
        super().__init__()
        self.settings = settings
        width, d, used = settings.width, settings.text_width, len(settings.columns)
        self.text_norm = nn.LayerNorm(d)
        self.text_query, self.text_key, self.text_value = (nn.Linear(d, width, bias=False) for _ in range(3))
        self.item_query, self.item_key, self.item_value = (
            nn.Linear(ITEM_DIMENSIONS, width, bias=False) for _ in range(3)
        )
        self.outcome_value = nn.Linear(PAST_COLUMNS, width)
        self.nothing_key = nn.Parameter(torch.zeros(width))
        self.nothing_value = nn.Parameter(torch.zeros(width))
        self.decay = nn.Parameter(torch.full((settings.heads,), -3.0))
        self.text_own = nn.Linear(d, width, bias=False)
        self.dropout = nn.Dropout(settings.dropout)
        self.tower = _mlp(used, settings.tower, settings.dropout)
        self.output = _zero_linear(settings.tower)
        self.fusion = _mlp(settings.tower + 2 * width + ITEM_DIMENSIONS, settings.tower, settings.dropout)
        self.fusion_output = _zero_linear(settings.tower)
        self.register_buffer("mean", torch.zeros(used))
        self.register_buffer("scale", torch.ones(used))
        self.register_buffer("columns", torch.tensor(settings.columns, dtype=torch.int64), persistent=False)

    def standardise_by(self, numbers: Tensor) -> None:
        """Set the standardisation of the features by training rows, float32 (N, F)."""
        used = numbers[:, self.columns].double()
        self.mean.copy_(used.mean(0))
        self.scale.copy_(used.std(0).clamp(min=1e-3))

    def forward(
        self, inputs: LateInputs, texts: Tensor, items: Tensor, *, numbers_only: bool = False
    ) -> Tensor:
        """Return the logits of y and z, float32 (B, 2).

        texts: (U, text_width) and items: (V, 32), the tables of vectors. numbers_only: omit the vectors' part.
        """
        numbers = (inputs.numbers[:, self.columns] - self.mean) / self.scale  # (B, F)
        hidden = self.tower(numbers.clamp(-_CLIP, _CLIP))  # (B, tower)
        logits: Tensor = self.output(hidden)
        if numbers_only or not self.reads_vectors:
            return logits
        mask = self._input_mask(len(inputs.text), inputs.numbers.device)  # (3, B, 1)
        normed = self.text_norm(texts)
        pooled = hidden.new_zeros(len(inputs.text), self.settings.width)
        if self.settings.history:
            pooled, _ = self._attend(inputs, normed, items, mask)  # (B, w)
        own = self.text_own(normed)[inputs.text] * mask[0]  # (B, w)
        item = items[inputs.item] * mask[1]  # (B, 32)
        fused = self.fusion(torch.cat([hidden * mask[2], self.dropout(torch.cat([pooled, own, item], 1))], 1))
        added: Tensor = self.fusion_output(fused)
        return logits * mask[2] + added

    @property
    def reads_vectors(self) -> bool:
        """Whether the network reads any input other than the features."""
        return self.settings.text or self.settings.items or self.settings.history

    def numbers_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the features' part."""
        return [*self.tower.parameters(), *self.output.parameters()]

    def vectors_parameters(self) -> list[nn.Parameter]:
        """Return all other parameters."""
        known = {id(parameter) for parameter in self.numbers_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in known]

    def score(self, inputs: LateInputs, texts: Tensor, items: Tensor) -> Tensor:
        """Return y_hat and z_hat, float32 (B, 2), in (0, 1)."""
        with torch.inference_mode():
            return torch.sigmoid(self(inputs, texts, items))

    def attention(self, inputs: LateInputs, texts: Tensor, items: Tensor) -> Tensor:
        """Return the attention weights of the history, averaged over heads, float32 (B, H + 1).

        The last column is the weight of "nothing". Each row sums to 1.
        """
        with torch.inference_mode():
            mask = self._input_mask(len(inputs.text), inputs.numbers.device)
            return self._attend(inputs, self.text_norm(texts), items, mask)[1].mean(1)

    def _attend(
        self, inputs: LateInputs, normed: Tensor, items: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the pooled values, (B, w), and the attention weights, (B, heads, H + 1)."""
        heads = self.settings.heads
        rows, size = inputs.past_text.shape
        present = inputs.past_text >= 0  # (B, H)
        past_text = inputs.past_text.clamp(min=0)
        text, item = mask[0], mask[1]  # (B, 1)
        query = self.text_query(normed)[inputs.text] * text + self.item_query(items)[inputs.item] * item
        key = (
            self.text_key(normed)[past_text] * text[:, None]
            + self.item_key(items)[inputs.past_item] * (item[:, None])
        )  # (B, H, w)
        value = self.text_value(normed)[past_text] * text[:, None]
        value = value + self.item_value(items)[inputs.past_item] * item[:, None]
        value = functional.gelu(value + self.outcome_value(inputs.past))  # (B, H, w)
        key = torch.cat([key, self.nothing_key.expand(rows, 1, -1)], dim=1)  # (B, H + 1, w)
        value = torch.cat([value, self.nothing_value.expand(rows, 1, -1)], dim=1)
        query = query.view(rows, 1, heads, -1)
        agreement = (query * key.view(rows, size + 1, heads, -1)).sum(-1) / query.shape[
            -1
        ] ** 0.5  # (B, H + 1, heads)
        gaps = functional.pad(inputs.past[:, :, 3], (0, 1))  # (B, H + 1)
        agreement = agreement - functional.softplus(self.decay) * gaps[:, :, None]
        absent = functional.pad(~present, (0, 1))[:, :, None]  # (B, H + 1, 1)
        weights = agreement.masked_fill(absent, float("-inf")).softmax(1)
        pooled = (weights[..., None] * value.view(rows, size + 1, heads, -1)).sum(1)  # (B, heads, w / heads)
        return pooled.reshape(rows, -1), weights.transpose(1, 2)

    def _input_mask(self, rows: int, device: torch.device) -> Tensor:
        """Return 1 for each input that a row reads, else 0, float32 (3, B, 1): text, items, features.

        In training, rows randomly lack one input, never more, so that the network works without each of them.
        """
        reads = [self.settings.text, self.settings.items, True]
        mask = torch.tensor(reads, dtype=torch.float32, device=device)[:, None, None].repeat(1, rows, 1)
        if self.training and self.settings.input_dropout:
            dropped = torch.rand(rows, device=device) < self.settings.input_dropout
            which = torch.randint(_INPUTS, (rows,), device=device)
            mask[which[dropped], dropped.nonzero()[:, 0]] = 0.0
        return mask


def _mlp(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Dropout(dropout),
    )


def _zero_linear(width: int) -> nn.Linear:
    linear = nn.Linear(width, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def late_loss(logits: Tensor, y: Tensor, z: Tensor, settings: LateSettings) -> Tensor:
    """Return 1/N sum (l(y_hat, y) + lam l(z_hat, z)), a scalar, with the loss l of settings.loss.

    logits: (N, 2). y, z: (N,) in [0, 1]. z is NaN where unknown; such a row counts only in the first term.
    """
    known = ~torch.isnan(z)
    z = z.nan_to_num()
    if settings.loss is Loss.MSE:
        first, second = ((torch.sigmoid(logits) - torch.stack([y, z], 1)) ** 2).unbind(1)
    else:
        targets = torch.stack([y, z], 1)
        first, second = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").unbind(
            1
        )
    return (first + settings.lam * torch.where(known, second, 0.0)).mean()


def save(network: LateNetwork, folder: Path) -> None:
    """Write weights, in float32, and settings into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.cpu().contiguous() for name, value in network.state_dict().items()},
        folder / WEIGHTS_FILE,
    )
    text = json.dumps(asdict(network.settings), indent=2)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> LateNetwork:
    """Read a network written by save(): on the CPU, in eval mode.

    Raises ModelIncompatible if the files are invalid or do not match.
    """
    path = folder / SETTINGS_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        settings = LateSettings(**{**raw, "loss": Loss(raw["loss"]), "columns": tuple(raw["columns"])})
        network = LateNetwork(settings)
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as exc:
        raise ModelIncompatible(f"{folder} is not a checkpoint of a late network: {exc}") from exc
    return network.eval()
