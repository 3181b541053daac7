"""A training load beside the plays: forward and backward passes on all cores until the parent process ends."""

import os
import sys


def train_until_alone(parent: int) -> None:
    """Train a small BERT on random tokens while `parent` is this process's parent."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512)
    network = BertModel(config)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(network.parameters())
    while os.getppid() == parent:
        tokens = torch.randint(config.vocab_size, (16, 128))
        loss = network(input_ids=tokens).last_hidden_state.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    train_until_alone(int(sys.argv[1]))
