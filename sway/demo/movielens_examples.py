"""MovieLens-100K as a file of labelled examples: `python -m sway.demo.movielens_examples examples.parquet [COUNT]`.

The examples are in order of time. The label y is rating >= 4, and z is the graded rating. Each text contains all
earlier outcomes, as in a worker. The ratings belong to GroupLens and remain under its terms.
"""

import sys
from itertools import islice
from pathlib import Path

from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from sway.base_model import minilm_dir
from sway.demo import movielens
from sway.example_files import write_examples
from trainer.dataset import label_in_order

MAX_TOKENS = 96


def main() -> None:
    """Write the file."""
    path, *count = sys.argv[1:]
    pairs = islice(movielens.rated_events(movielens.fetch()), int(count[0]) if count else None)
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings(max_tokens=MAX_TOKENS))
    examples = list(label_in_order(pairs, tokenizer))
    sys.stdout.write(f"{len(examples):,} examples in {write_examples(Path(path), examples)}\n")


if __name__ == "__main__":
    main()
