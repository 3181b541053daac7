"""`sway train`."""

import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.reading import Reading

if TYPE_CHECKING:
    from model.registry import ModelRegistry
    from model.tokens import BehaviourTokenizer
    from stream.settings import Settings
    from sway.training_file import Knobs
    from trainer.config import TrainingConfig
    from trainer.dataset import Example

_BASE = "minilm"


def train(
    examples: Annotated[
        Path | None, typer.Option(help="One file, split by time: .parquet, .csv or .jsonl.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="The split of that file: train/valid/test, in percent.")
    ] = "80/10/10",
    train_file: Annotated[
        Path | None, typer.Option("--train", help="Or separate files: the training examples.")
    ] = None,
    valid_file: Annotated[Path | None, typer.Option("--valid", help="The validation examples.")] = None,
    test_file: Annotated[
        Path | None, typer.Option("--test", help="The test examples, for `sway evaluate`.")
    ] = None,
    from_topic: Annotated[
        bool, typer.Option("--from-topic", help="Or all examples of sway.examples, split by time.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            help="champion, a version, a checkpoint's folder, or minilm [default: the champion, else minilm]."
        ),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="The registry's address [default: the settings'].")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of knobs; see docs/training.md.")] = None,
    reading: Annotated[
        Reading | None,
        typer.Option(
            help="[default: the start's; for minilm: late if the examples carry snapshots, else joint]"
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Joint: epochs on whole texts. Late: epochs of the second stage, which adds vectors."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The peak learning rate of BERT; late: requires --trained-layers.")
    ] = None,
    trained_layers: Annotated[
        int | None,
        typer.Option(
            help="The number of BERT's top layers to train [default: joint 2, late none]; joint: 0 for all."
        ),
    ] = None,
    newest_texts: Annotated[
        int | None, typer.Option(help="Joint: the number of newest whole texts to train on; 0 for all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of row order, dropout and augmentation.")] = None,
    wandb: Annotated[bool | None, typer.Option(help="Track with Weights & Biases.")] = None,
    tensorboard: Annotated[
        bool | None, typer.Option(help="Track with TensorBoard, in the work folder.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The work folder; an interrupted training resumes from it.")
    ] = Path("build/train"),
) -> None:
    """Train a version and publish it.

    `sway models promote` makes it the champion.

    Columns of the files: target, y, occurred_at, and optionally history or behaviours, z, user_id, item_id, snapshot
    (docs/training.md). The late reading requires snapshots. The command prints the version, and writes the test
    examples to the work folder.

    Example: `sway train --examples examples.parquet && sway evaluate build/train/VERSION/test.parquet`
    """
    from rich.console import Console  # torch and the modules below take seconds to import

    from model.registry import ModelRegistry
    from sway.configuration import load_settings
    from sway.errors import CommandError
    from sway.example_files import write_examples
    from sway.progress import show_progress

    settings = load_settings()
    store = ModelRegistry(registry or settings.model.registry)
    given = _knobs(
        config,
        reading=reading,
        seed=seed,
        wandb=wandb,
        tensorboard=tensorboard,
    )
    flags: dict[str, Any] = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "trained_layers": trained_layers,
        "newest_texts": newest_texts,
    }
    console = Console()
    with tempfile.TemporaryDirectory(prefix="sway-start-") as scratch:
        parent, folder, base = _start(start, store, Path(scratch))
        reader = _reader(folder, given.config)
        files = {"train": train_file, "valid": valid_file, "test": test_file}
        parts, data = _parts(examples, split, files, settings if from_topic else None, reader)
        if parent is None:
            data |= _hashes_of_start(folder)
        if len(parts["train"]) < 2:
            raise CommandError(f"{len(parts['train'])} training examples are too few; the split is {split}")
        knobs = _for_reading(given, folder, parts["train"], flags)
        version = _version(parent, base, data, knobs)
        work = out / version
        if parts["test"]:
            write_examples(work / "train.parquet", parts["train"])
            write_examples(work / "test.parquet", parts["test"])
        console.print(f"{version}: " + ", ".join(f"{len(part):,} {name}" for name, part in parts.items()))
        with show_progress(console) as show:
            metrics = _publish(store, version, parent, base, folder, parts, data, knobs, work, show)
    console.print(", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())))
    console.print(f"published [bold]{version}[/]; its files are in {work}", soft_wrap=True)


def _knobs(config: Path | None, **flags: Any) -> "Knobs":
    from sway.training_file import Knobs, read_knobs
    from trainer.config import TrainingConfig

    knobs = Knobs(TrainingConfig(trained_layers=2, epochs=1)) if config is None else read_knobs(config)
    changes = {name: value for name, value in flags.items() if value is not None}
    return knobs._replace(config=replace(knobs.config, **changes))


def _for_reading(
    given: "Knobs", folder: Path, examples: list["Example"], flags: dict[str, Any]
) -> "TrainingConfig":
    """Return the knobs with the flags applied. Raises TrainingRefused for knobs of the other reading."""
    from trainer.knob_readings import refuse_other_knobs, with_flags
    from trainer.starts import choose_reading

    reading = choose_reading(given.config, folder, examples)
    refuse_other_knobs(given.given, reading)
    return with_flags(given.config, reading, **flags)


def _start(start: str | None, store: "ModelRegistry", scratch: Path) -> tuple[str | None, Path, str]:
    """Return the parent version or None, the checkpoint's folder and the name of its base."""
    if start is None:
        start = "champion" if store.champion() is not None else _BASE
    if start == _BASE:
        from sway.base_model import minilm_dir

        return None, minilm_dir(), "all-MiniLM-L6-v2"
    if Path(start).is_dir():
        return None, Path(start), Path(start).name
    parent = store.champion() if start == "champion" else start
    if parent is None:
        from sway.errors import CommandError

        raise CommandError("the registry has no champion to start from: give --start minilm, or a folder")
    return parent, store.fetch(parent, scratch / parent), store.manifest(parent).base


def _hashes_of_start(folder: Path) -> dict[str, str]:
    """Return the hashes that identify a checkpoint outside the registry, with all files of a late one."""
    from model import late, late_checkpoint
    from model.hashing import sha256_of

    hashes = {"start_sha256": sha256_of(folder / "model.safetensors")}
    for name in (late.WEIGHTS_FILE, late_checkpoint.ITEMS_FILE):
        if (folder / name).is_file():
            hashes[f"start_{name}_sha256"] = sha256_of(folder / name)
    return hashes


def _reader(folder: Path, knobs: "TrainingConfig") -> "BehaviourTokenizer":
    from model import checkpoint
    from model.text import TextSettings
    from model.tokens import BehaviourTokenizer
    from trainer.starts import is_sway_checkpoint

    text = knobs.text or TextSettings()
    if is_sway_checkpoint(folder):
        text = checkpoint.load_settings(folder, checkpoint.reading_of(folder)).text
    return BehaviourTokenizer.from_folder(folder, text)


def _parts(
    examples: Path | None,
    split: str,
    files: dict[str, Path | None],
    from_topic: "Settings | None",
    reader: "BehaviourTokenizer",
) -> tuple[dict[str, list["Example"]], dict[str, Any]]:
    """Return the examples by part (train, valid, test), and the manifest's data about them."""
    from sway.errors import CommandError
    from sway.example_files import read_examples

    sources = [examples is not None, files["train"] is not None, from_topic is not None]
    if sum(sources) != 1:
        raise CommandError("give one of --examples FILE, --train FILE and --from-topic")
    if files["train"] is not None:
        given = {name: path for name, path in files.items() if path is not None}
        parts = {name: read_examples(path, lambda: reader) if path else [] for name, path in files.items()}
        return parts, {name: _of_file(path) for name, path in given.items()}
    if examples is not None:
        return _by_time(read_examples(examples, lambda: reader), split), {
            "examples": _of_file(examples),
            "split": split,
        }
    if from_topic is None:
        raise CommandError("no examples to train on")
    return _of_topic(from_topic, split)


def _of_topic(settings: "Settings", split: str) -> tuple[dict[str, list["Example"]], dict[str, Any]]:
    from dataclasses import asdict

    from schemas.records import LabeledExample
    from stream.wire import codec_for
    from trainer.ranges import ExampleRanges

    topic = settings.topics.examples
    source = ExampleRanges(settings.kafka.client_config(), codec_for(LabeledExample, topic, settings.wire))
    ranges = source.all_of(topic)
    found, _ = source.read(ranges, 0)
    return _by_time(found, split), {"ranges": [asdict(part) for part in ranges], "split": split}


def _by_time(examples: list["Example"], split: str) -> dict[str, list["Example"]]:
    from sway.errors import CommandError
    from trainer.dataset import split_by_time

    try:
        train_share, valid_share, test_share = (float(part) for part in split.split("/"))
        total = train_share + valid_share + test_share
        rest, test = split_by_time(examples, test_share / total)
        learned, valid = split_by_time(rest, valid_share / (train_share + valid_share))
    except (ValueError, ZeroDivisionError):
        raise CommandError(f"--split {split!r} must be three numbers such as 80/10/10") from None
    return {"train": learned, "valid": valid, "test": test}


def _of_file(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _version(parent: str | None, base: str, data: dict[str, Any], knobs: "TrainingConfig") -> str:
    from trainer.job import version_of

    return version_of(parent, base, data, knobs)


def _publish(
    store: "ModelRegistry",
    version: str,
    parent: str | None,
    base: str,
    folder: Path,
    parts: dict[str, list["Example"]],
    data: dict[str, Any],
    knobs: "TrainingConfig",
    work: Path,
    show: Any,
) -> dict[str, float]:
    from model.manifest import Manifest
    from sway.curves import keep_curves
    from trainer import job
    from trainer.dataset import TO_MS, latest_known_at

    if store.exists(version):
        return dict(store.manifest(version).metrics)
    until_ms = None if parent is None else store.manifest(parent).data.get(TO_MS)
    trained = job.train(
        parts["train"],
        parts["valid"],
        start=folder,
        config=knobs,
        work=work / "training",
        start_until_ms=until_ms,
        progress=show,
    )
    counts = {f"{name}_examples": len(part) for name, part in parts.items()}
    manifest = Manifest(
        version=version,
        base=base,
        created_at_ms=int(time.time() * 1000),
        parent=parent,
        data={**data, **counts, TO_MS: latest_known_at(parts["train"], parts["valid"], known=until_ms)},
        metrics=trained.metrics,
        config=knobs.to_plain(),
    )
    store.publish(trained.folder, manifest)
    keep_curves(store, version, trained.curves)
    return dict(trained.metrics)
