"""`sway evaluate`."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trainer.dataset import Example


def evaluate(
    file: Annotated[
        Path | None, typer.Argument(help="The examples to evaluate on: .parquet, .csv or .jsonl.")
    ] = None,
    from_topic: Annotated[
        int, typer.Option(min=0, help="Instead of a file: the number of newest examples of sway.examples.")
    ] = 0,
    version: Annotated[
        str | None, typer.Option(help="The version to evaluate [default: the champion].")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="The registry's address [default: the settings'].")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Earlier examples: to fit the baselines, and for the texts of windows."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the report.")] = Path("build/evaluation"),
    samples: Annotated[int, typer.Option(min=10, help="Bootstrap samples for the intervals.")] = 500,
) -> None:
    """Evaluate a version against baselines.

    The command prints metrics with confidence intervals, and writes a report.

    Columns of the files: target, y, occurred_at, and optionally history or behaviours, z, user_id, item_id.
    The report consists of a page with plots (report.html), the plots as PNG files, and metrics.json. It is also stored
    with the version in the registry.

    Example: `sway evaluate test.parquet --train train.parquet`
    """
    from rich.console import Console  # torch and Arrow take seconds to import

    from model.loading import Model
    from model.registry import ModelRegistry
    from model.tokens import BehaviourTokenizer
    from sway.configuration import load_settings
    from sway.curves import training_curves
    from sway.errors import CommandError
    from sway.evaluate.tables import baselines_table, metrics_table, time_text
    from sway.example_files import read_examples
    from trainer.evaluation.report import compare, write_report
    from trainer.evaluation.scoring import can_score, measure_in_turns, score_examples
    from trainer.known_texts import known_texts

    if (file is None) == (not from_topic):
        raise CommandError("give either a file of examples or --from-topic COUNT")
    store = ModelRegistry(registry or load_settings().model.registry)

    @cache
    def loaded() -> Model:
        name = version or store.champion()
        if name is None:
            raise CommandError("the registry has no champion yet: give a version with --version")
        return store.load(name)

    def reader() -> BehaviourTokenizer:
        return loaded().tokenizer

    found = read_examples(file, reader) if file else _all_of_topic()
    test = found if file else found[-from_topic:]
    known = read_examples(train, reader) if train else []
    source = file.name if file else "sway.examples"
    model = loaded()
    name = model.version
    readable = [example for example in test if can_score(model, example)]
    if not readable:
        raise CommandError(
            f"version {name} is of the late reading, which needs snapshots, and no example of {source} carries one: "
            "examples of sway.examples do (--from-topic)"
        )
    console = Console()
    if len(readable) < len(test):
        console.print(f"{len(test) - len(readable):,} examples without a snapshot are left out")
    test = readable
    texts = known_texts([*found, *known])  # earlier examples contain the texts of the windows
    with console.status("scoring") as status:
        (times,) = measure_in_turns([model], test, texts)
        y_hat, z_hat = score_examples(
            model,
            test,
            texts=texts,
            progress=lambda done, of: status.update(f"scoring {done:,} of {of:,}"),
        )
        try:
            compared = compare(test, y_hat, z_hat, model.lam, train=known, samples=samples)
        except ValueError as exc:
            raise CommandError(f"version {name} cannot be evaluated on {source}: {exc}") from exc
    facts = {"version": name, "examples": f"{len(test):,} of {source}"}
    facts |= {"time": time_text(times)}
    facts |= {"baselines know": f"{len(known):,} of {train.name} before"} if train else {}
    page = write_report(
        out, compared, title=f"Evaluation of {name}", facts=facts, curves=training_curves(store, name)
    )
    store.attach(name, out, "evaluation")
    console.print(metrics_table(name, compared), baselines_table(name, compared), facts["time"])
    console.print(f"{page}", soft_wrap=True)


def _all_of_topic() -> "list[Example]":
    """Return all examples of sway.examples, the newest last."""
    from schemas.records import LabeledExample
    from stream.wire import codec_for
    from sway.configuration import load_settings
    from trainer.ranges import ExampleRanges

    settings = load_settings()
    topic = settings.topics.examples
    source = ExampleRanges(settings.kafka.client_config(), codec_for(LabeledExample, topic, settings.wire))
    found, _ = source.read(source.all_of(topic), 0)
    return sorted(found, key=lambda example: example.occurred_at)
