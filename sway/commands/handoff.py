"""`sway handoff`."""

import typer

from sway.configuration import load_settings


def handoff() -> None:
    """Hand over the labelled examples that wait, now, however few they are.

    Writes training requests, at most SWAY_HANDOVER__MIN_EXAMPLES examples each, and prints them. May be run at any
    time: every example is in exactly one request.

    Example: `sway handoff`
    """
    settings = load_settings()
    from schemas.records import TrainingRequest
    from stream.handover.leader import HandoverLeader
    from stream.handover.rule import HandoverRule
    from stream.wire import codec_for

    wanted, names = settings.handover, settings.topics
    leader = HandoverLeader(
        settings.kafka.client_config(),
        f"{settings.app_id}-handover",
        examples=names.examples,
        training=names.training,
        codec=codec_for(TrainingRequest, names.training, settings.wire),
        rule=HandoverRule(wanted.min_examples, wanted.max_interval_s),
        connect_timeout_s=settings.kafka.connect_timeout_s,
    )
    handed_over = 0
    with leader:
        while True:
            leader.read(0.5)
            full = leader.waiting >= wanted.min_examples
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
        typer.echo("nothing new")
