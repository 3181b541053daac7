"""Encodes plan and progress as the metadata of a committed offset; a broker accepts at most 4,096 bytes.

Every committed offset of the group contains the plan as well, so the plan expires together with the progress.
"""

import json
from collections.abc import Mapping

from stream.replay.errors import PlanError
from stream.replay.plan import COUNTS, PartitionPlan, Progress, ReplayPlan, Span

_VERSION = 1


def encode_progress(plan: ReplayPlan, partition: int, progress: Progress) -> str:
    """Return the commit metadata of a partition."""
    part = plan.partitions[partition]
    spans = (part.warm_up, part.scored, part.run_out, part.outcomes, part.old_scores, part.known)
    metadata = {
        "v": _VERSION,
        "m": plan.model_version,
        "l": int(plan.with_labels),
        "w": plan.outputs,
        "s": plan.settings,
        "t": plan.created_at_ms,
        "i": dict(plan.topic_ids),
        "p": [offset for span in spans for offset in span],
        "q": part.labels_to,
        "o": progress.outcomes_next,
        "c": [progress.counts.get(name, 0) for name in COUNTS],
        "f": progress.file,
        "d": int(progress.done),
    }
    return json.dumps(metadata, separators=(",", ":"))


def decode_progress(
    replay_id: str, committed: Mapping[int, tuple[int, str]]
) -> tuple[ReplayPlan, dict[int, Progress]]:
    """Return the plan and the progress by partition. committed: offset and metadata by partition, at least one.

    Raises PlanError if the metadata has another format.
    """
    partitions: dict[int, PartitionPlan] = {}
    progress: dict[int, Progress] = {}
    try:
        for number, (offset, text) in committed.items():
            metadata = json.loads(text)
            _check_version(metadata["v"])
            pairs = zip(metadata["p"][::2], metadata["p"][1::2], strict=True)
            warm_up, scored, run_out, outcomes, old_scores, known = (Span(*pair) for pair in pairs)
            partitions[number] = PartitionPlan(
                warm_up, scored, run_out, outcomes, old_scores, known, metadata["q"]
            )
            counts = dict(zip(COUNTS, metadata["c"], strict=True))
            progress[number] = Progress(offset, metadata["o"], counts, metadata["f"], bool(metadata["d"]))
        plan = ReplayPlan(
            replay_id,
            metadata["m"],
            bool(metadata["l"]),
            metadata["w"],
            metadata["s"],
            metadata["t"],
            metadata["i"],
            partitions,
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise PlanError(
            f"The group of replay {replay_id!r} has committed offsets with metadata that is not a replay's: another "
            "program uses this group, or another version of Sway wrote it. Give this replay another id (--id)."
        ) from exc
    return plan, progress


def _check_version(version: object) -> None:
    if version != _VERSION:
        raise ValueError(version)
