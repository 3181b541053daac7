"""`sway explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.loading import Model
    from stream.settings import Settings


def explain(
    event_id: Annotated[str | None, typer.Argument(help="Id of the event.")] = None,
    user: Annotated[
        str | None,
        typer.Option(help="The event's user. Without an event id: the user's newest scored event."),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(
            min=1, help="Number of newest offsets to search in each partition of the examples topic."
        ),
    ] = 20_000,
    image: Annotated[Path | None, typer.Option(help="Also draw the effects as a PNG file.")] = None,
    registry: Annotated[
        str | None, typer.Option(help="Model registry [default: SWAY_MODEL__REGISTRY].")
    ] = None,
) -> None:
    """Explain a score by past behaviours.

    Shows the effect of each past behaviour of the user. Scores the event again from its stored input, with the version
    that scored it, then once without each behaviour. Labels must be enabled, because the input of a score is stored
    for its labelled example. The command only reads Kafka: it joins no consumer group and commits nothing, so running
    workers are not affected.

    Example: `sway explain 8c1f`, or `sway explain --user u17 --image why.png`
    """
    # Imported here because torch takes seconds to import.
    from rich.console import Console

    from schemas.records import LabeledExample
    from stream.wire import codec_for
    from sway.configuration import load_settings
    from sway.errors import CommandError
    from sway.explain import show
    from sway.explain.effects import explain_event
    from sway.explain.find import EventQuery, find_event
    from sway.explain.texts import texts_by_key
    from sway.explain.topics import CommittedTopics, TopicNames

    if event_id is None and user is None:
        raise CommandError("give an event id, or a user with --user")
    settings = load_settings()
    names, codec = TopicNames.of(settings), codec_for(LabeledExample, settings.topics.examples, settings.wire)
    console = Console()
    with Console(stderr=True).status("connecting to the cluster") as status:
        topics = CommittedTopics(settings, lambda topic: status.update(f"reading {topic}"))
        event = find_event(topics, names, EventQuery(event_id, user), codec, examples)
        status.update("loading the model")
        model = _load(settings, registry, event.model_version)
        texts = texts_by_key(topics, names, event, model.tokenizer, codec, examples)
        status.update("scoring")
        found = explain_event(event, texts, model)
    console.print(show.heading(found), markup=False, highlight=False)
    console.print(show.scores(found))
    if found.behaviours:
        console.print(show.behaviours(found))
    for note in show.notes(found):
        console.print(note, markup=False, highlight=False)
    if image is not None:
        from sway.explain.draw import draw

        draw(found, image)
        console.print(f"{image}", markup=False, highlight=False, soft_wrap=True)


def _load(settings: "Settings", registry: str | None, version: str) -> "Model":
    """Load the version that scored the event, or the champion if that version was removed."""
    from model.device import choose_device
    from model.registry import ModelRegistry
    from stream.assembly import load_version
    from sway.errors import CommandError

    store = ModelRegistry(registry or settings.model.registry)
    if not store.exists(version):
        champion = store.champion()
        if champion is None:
            raise CommandError(
                f"{store.storage.root} has neither {version}, which scored the event, nor a champion: give the "
                "registry with --registry"
            )
        version = champion
    return load_version(settings, store, version, choose_device(settings.model.device))
