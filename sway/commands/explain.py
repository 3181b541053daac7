"""`sway explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.loading import Model
    from stream.settings import Settings


def explain(
    event_id: Annotated[str | None, typer.Argument(help="The event's id.")] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Whose event it is; without an event id, the user's newest that was scored."),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=1, help="How far back in each partition of the examples to look, in offsets.")
    ] = 20_000,
    image: Annotated[Path | None, typer.Option(help="Draw the effects into this PNG file too.")] = None,
    registry: Annotated[
        str | None, typer.Option(help="The registry's address [default: the settings'].")
    ] = None,
) -> None:
    """Say what swayed a score: how it would differ without each behaviour of the user's past.

    Scores the event again as it was known then, with the version that scored it, and once more without each behaviour.
    Needs labels (examples) to be on: what an event was scored with is kept for its example. Reads Kafka alone, joins no
    group and commits nothing, so running workers are not disturbed.

    Example: `sway explain 8c1f`, or `sway explain --user u17 --image why.png`
    """
    from rich.console import Console  # torch takes seconds to import

    from schemas.records import LabeledExample
    from stream.wire import codec_for
    from sway.configuration import load_settings
    from sway.errors import CommandError
    from sway.explaining import show
    from sway.explaining.explained import explain_event
    from sway.explaining.find import Wanted, find_event
    from sway.explaining.topics import CommittedTopics, Names
    from sway.explaining.words import words_by_key

    if event_id is None and user is None:
        raise CommandError("name an event, or a user with --user")
    settings = load_settings()
    names, codec = Names.of(settings), codec_for(LabeledExample, settings.topics.examples, settings.wire)
    console = Console()
    with Console(stderr=True).status("looking for the cluster") as status:
        topics = CommittedTopics(settings, lambda topic: status.update(f"reading {topic}"))
        event = find_event(topics, names, Wanted(event_id, user), codec, examples)
        status.update("loading the model")
        model = _load(settings, registry, event.model_version)
        words = words_by_key(topics, names, event, model.tokenizer, codec, examples)
        status.update("scoring")
        found = explain_event(event, words, model)
    console.print(show.heading(found), markup=False, highlight=False)
    console.print(show.scores(found))
    if found.behaviours:
        console.print(show.behaviours(found))
    for note in show.notes(found):
        console.print(note, markup=False, highlight=False)
    if image is not None:
        from sway.explaining.draw import draw

        draw(found, image)
        console.print(f"{image}", markup=False, highlight=False, soft_wrap=True)


def _load(settings: "Settings", registry: str | None, version: str) -> "Model":
    """Load the version that scored the event, or the champion if that is gone."""
    from model.device import choose_device
    from model.registry import ModelRegistry
    from stream.assembly import load_version
    from sway.errors import CommandError

    store = ModelRegistry(registry or settings.model.registry)
    if not store.exists(version):
        champion = store.champion()
        if champion is None:
            raise CommandError(
                f"{store.storage.root} has neither {version}, which scored the event, nor a champion: name the "
                "registry with --registry"
            )
        version = champion
    return load_version(settings, store, version, choose_device(settings.model.device))
