"""A joint model in memory: one version's network and tokenizer, on its device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from model import checkpoint
from model.batches import TextBatch, to_tensors
from model.device import choose_device, choose_dtype, dtype_name
from model.errors import DeviceError
from model.fit import check_fit, pad_id_of, tokenizer_for
from model.network import TwoHeadedNetwork
from model.reading import Reading
from model.text import TextSettings
from model.tokens import BehaviourTokenizer, EncodedText

WARM_UP_WORDS = (
    "view a lamp",
    "view The Third Man (1949) drama film noir liked",
    "buy two red-hot chillies; price 20 to 50",
    "rate Amélie 2001 comedy romance value 4 disliked",
)


class LoadedModel:
    """A loaded version. Immutable except for the tokenizer's cache.

    lam: the weight of z_hat in the influence. probe: a known-good text that distinguishes a broken device from a bad
    text.
    """

    reading = Reading.JOINT

    def __init__(
        self,
        version: str,
        network: TwoHeadedNetwork,
        tokenizer: BehaviourTokenizer,
        *,
        device: torch.device | None = None,
        dtype: str = "auto",
    ) -> None:
        self.version = version
        self.tokenizer = tokenizer
        self.device = device or choose_device()
        torch_dtype = choose_dtype(dtype, self.device)
        self.dtype = dtype_name(torch_dtype)
        self.network = network.place(self.device, torch_dtype).eval()
        config = network.encoder.config
        self.pad_id = pad_id_of(config)
        self.lam = network.settings.lam
        self.probe = tokenizer.encode((), tokenizer.words(("view a lamp",))[0])
        check_fit(version, tokenizer, config)

    @classmethod
    def from_folder(
        cls,
        version: str,
        folder: Path,
        *,
        device: torch.device | None = None,
        dtype: str = "auto",
        cached_pieces: int = 100_000,
        tokenizer: BehaviourTokenizer | None = None,
    ) -> Self:
        """Read a checkpoint written by model.checkpoint.save.

        tokenizer: the tokenizer in use. It is shared if the checkpoint has the same tokenizer file and text settings,
        so that cached token ids stay valid.
        """
        network = checkpoint.load(folder)
        tokenizer = tokenizer_for(folder, network.settings.text, cached_pieces, tokenizer)
        return cls(version, network, tokenizer, device=device, dtype=dtype)

    @property
    def text(self) -> TextSettings:
        """The text settings that this model was trained with."""
        return self.network.settings.text

    def pack(self, texts: Sequence[EncodedText], *, multiple: int = 1) -> TextBatch:
        """Pad texts to the longest one; see model.batches."""
        return to_tensors(texts, pad_id=self.pad_id, multiple=multiple)

    def score(self, batch: TextBatch) -> Tensor:
        """Return y_hat and z_hat, float32 (N, 2), on the model's device."""
        with torch.inference_mode():
            moved = batch.to(self.device)
            outputs: Tensor = self.network(moved.input_ids, moved.attention_mask, moved.token_type_ids)
            return outputs

    def score_texts(self, texts: list[EncodedText]) -> Tensor:
        """Score a few texts in one pass, without the micro-batcher; return float32 (N, 2) on the CPU."""
        return self.score(self.pack(texts)).cpu()

    def warm_up(self) -> None:
        """Score sample texts, alone and as a batch, so that the first event does not wait for initialisation.

        Raises DeviceError if an output is not finite: such a model must not go into service.
        """
        texts = self._warm_up_texts()
        for batch in ([self.probe], texts[-1:], texts):
            if not torch.isfinite(self.score_texts(batch)).all():
                raise DeviceError(f"model {self.version} returned NaN or infinity for a known-good text")

    def _warm_up_texts(self) -> list[EncodedText]:
        """Return texts of increasing length up to the limit, with outcomes and values."""
        words = self.tokenizer.words(WARM_UP_WORDS)
        target = words[0]
        lengths = (0, 1, 3, 8, 20, self.text.max_tokens)
        return [self.tokenizer.encode([words[i % len(words)] for i in range(n)], target) for n in lengths]
