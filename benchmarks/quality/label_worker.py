"""The label join over existing topics: `python -m benchmarks.quality.label_worker TOPIC`.

Writes examples to TOPIC.examples. It is a replay with labels: it runs the worker's core with one reader that merges
events and outcomes by record time. A live worker reads whatever a poll returns. On seven months of events within a
minute, one topic would be hours ahead of the other, and delays of minutes would be meaningless.
Scores are zeros, because labels and snapshots do not depend on them. Settings come from the environment, as usual.
"""

import json
import logging
import sys

from benchmarks.children import die_with_parent
from benchmarks.scoring import FreeScorer
from stream.assembly import load_champion, tune_garbage_collection
from stream.log import set_up_log
from stream.replay.ranges import Newest, Oldest
from stream.replay.session import ReplaySession, Request
from stream.settings import Settings


def main() -> None:
    """Run the label join and print the number of records of each kind."""
    die_with_parent()
    set_up_log(logging.WARNING)
    settings, topic = Settings(), sys.argv[1]
    model = load_champion(settings)
    tune_garbage_collection()
    session = ReplaySession(settings, Request("labels", Oldest(), Newest(), topic, None, with_labels=True))
    partitions = settings.topics.partitions
    plan = session.begin(session.plan(model.version), partitions)
    done = session.run(plan, partitions, model, FreeScorer(model))
    counts = [one.counts for one in done.values()]
    kinds = {kind for one in counts for kind in one}
    print(json.dumps({kind: sum(one.get(kind, 0) for one in counts) for kind in sorted(kinds)}))


if __name__ == "__main__":
    main()
