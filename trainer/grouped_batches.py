"""Batches of texts of similar length, to minimise padding."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class LengthGroupedBatches(Sampler[list[int]]):
    """Shuffled batches of texts of similar length. The order is determined by seed and epoch.

    tokens: int64 (N,), the length of each text. epoch: the number of the next epoch; set it to resume.
    """

    # Shuffled texts are sorted by length within windows of this many batches.
    _WINDOW_BATCHES = 50

    def __init__(self, tokens: NDArray[np.int64], batch_rows: int, seed: int) -> None:
        # accelerate reads these two to shard batches among processes.
        self.batch_size = batch_rows
        self.drop_last = False
        self.epoch = 0
        self._tokens = tokens
        self._seed = seed

    def __len__(self) -> int:
        return -(-len(self._tokens) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self._seed, self.epoch))
        self.epoch += 1
        rows = self.batch_size
        order = random.permutation(len(self._tokens))
        batches: list[list[int]] = []
        for start in range(0, len(order), rows * self._WINDOW_BATCHES):
            window = order[start : start + rows * self._WINDOW_BATCHES]
            window = window[np.argsort(-self._tokens[window], kind="stable")]
            batches += [window[i : i + rows].tolist() for i in range(0, len(window), rows)]
        for index in random.permutation(len(batches)):
            yield batches[index]
