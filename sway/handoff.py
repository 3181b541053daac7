"""`sway handoff`."""

import typer

from sway.configuration import load_settings


def handoff() -> None:
    """Hand waiting examples over to training.

    Hands over all waiting labelled examples now, however few. Writes training requests of at most
    SWAY_HANDOVER__MIN_EXAMPLES examples each, and prints them. It is safe to run at any time: every example is in
    exactly one request.

    Example: `sway handoff`
    """
    settings = load_settings()
    from stream.handover.setup import lead

    handed_over = 0
    with lead(settings) as leader:
        while True:
            leader.read(0.5)
            full = leader.waiting >= settings.handover.min_examples
            if not (full or leader.caught_up):
                continue
            request = leader.hand_over(forced=True)
            if request is None:
                break
            handed_over += 1
            typer.echo(f"{request.request_id}  {request.examples} examples ({request.reason})")
            for part in request.ranges:
                typer.echo(f"  {part.topic}[{part.partition}] {part.start} to {part.end}")
            if not full:
                break
    if not handed_over:
        typer.echo("no new examples")
