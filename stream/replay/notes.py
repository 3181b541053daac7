"""Plan and progress in the metadata of a committed offset: short, since a broker takes 4,096 bytes. Pure.

Every offset of the group carries the plan as well, so the plan lives as long as the progress does.
"""

import json
from collections.abc import Mapping

from stream.replay.errors import PlanError
from stream.replay.plan import COUNTS, PartitionPlan, Progress, ReplayPlan, Span

_VERSION = 1


def note_of(plan: ReplayPlan, partition: int, progress: Progress) -> str:
    """Return what stands beside a partition's committed offset."""
    part = plan.partitions[partition]
    spans = (part.warm_up, part.scored, part.run_out, part.outcomes, part.old_scores, part.known)
    note = {
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
    return json.dumps(note, separators=(",", ":"))


def read_notes(
    replay_id: str, committed: Mapping[int, tuple[int, str]]
) -> tuple[ReplayPlan, dict[int, Progress]]:
    """Return the plan and how far each partition is. committed: offset and note by partition, at least one.

    Raises PlanError if a note is not ours.
    """
    partitions: dict[int, PartitionPlan] = {}
    progress: dict[int, Progress] = {}
    try:
        for number, (offset, text) in committed.items():
            note = json.loads(text)
            _check_version(note["v"])
            pairs = zip(note["p"][::2], note["p"][1::2], strict=True)
            warm_up, scored, run_out, outcomes, old_scores, known = (Span(*pair) for pair in pairs)
            partitions[number] = PartitionPlan(
                warm_up, scored, run_out, outcomes, old_scores, known, note["q"]
            )
            counts = dict(zip(COUNTS, note["c"], strict=True))
            progress[number] = Progress(offset, note["o"], counts, note["f"], bool(note["d"]))
        plan = ReplayPlan(
            replay_id, note["m"], bool(note["l"]), note["w"], note["s"], note["t"], note["i"], partitions
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise PlanError(
            f"The group of replay {replay_id!r} has committed offsets whose metadata are not a replay's: another "
            "program uses this group, or another version of Sway made them. Give this replay another id (--id)."
        ) from exc
    return plan, progress


def _check_version(version: object) -> None:
    if version != _VERSION:
        raise ValueError(version)
