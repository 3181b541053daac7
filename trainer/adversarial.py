"""Adversarial training by the fast gradient method, on the word embeddings of a text.

    r = epsilon g / |g|,  g = dL / d(word embeddings of the text);   the step descends L(e) + L(e + r)

Source: T. Miyato et al., 2017, "Adversarial Training Methods for Semi-Supervised Text Classification", ICLR.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class FastGradient:
    """The two passes of a training step: one that records the gradient, one on perturbed embeddings.

    embedding: the encoder's word embedding. epsilon: the L2 norm of each text's perturbation, over all its tokens.
    """

    def __init__(self, embedding: nn.Module, epsilon: float) -> None:
        self._embedding = embedding
        self._epsilon = epsilon
        self._recorded: list[Tensor] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Retain the gradient of the embedding's output for the duration of the block."""

        def record(_: nn.Module, __: object, output: Tensor) -> Tensor:
            kept = output if output.requires_grad else output.detach().requires_grad_()
            kept.retain_grad()
            self._recorded.append(kept)
            return kept

        self._recorded.clear()
        with _hook(self._embedding, record):
            yield

    @contextlib.contextmanager
    def perturbing(self) -> Iterator[None]:
        """Add r to the embedding's output for the duration of the block.

        Raises RuntimeError unless a recorded pass and its backward() came first.
        """
        steps = iter([self._step(recorded) for recorded in self._recorded])
        self._recorded.clear()

        def perturb(_: nn.Module, __: object, output: Tensor) -> Tensor:
            return output + next(steps)

        with _hook(self._embedding, perturb):
            yield

    def _step(self, recorded: Tensor) -> Tensor:
        if recorded.grad is None:
            raise RuntimeError("perturbing() needs a recorded pass whose backward() has run")
        gradient = recorded.grad  # (B, T, d)
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2), keepdim=True)  # (B, 1, 1)
        step: Tensor = self._epsilon * gradient / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        return step


@contextlib.contextmanager
def _hook(module: nn.Module, hook: object) -> Iterator[None]:
    handle = module.register_forward_hook(hook)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()
