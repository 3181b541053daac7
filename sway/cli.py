"""The command line `sway COMMAND`; a command is a module `sway/COMMAND.py` or a package with a `command.py`."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from sway import handoff, models, schemas, topics, train, trainer, up, worker
from sway.compare.command import compare
from sway.demo.command import demo
from sway.doctor.command import doctor
from sway.evaluate.command import evaluate
from sway.explain.command import explain
from sway.load.import_command import import_logs
from sway.load.produce_command import produce
from sway.replay.command import replay
from sway.tail.command import tail

# 128 + SIGINT, as shells report a program that Ctrl-C ended.
INTERRUPTED = 130

_ERROR_ROOTS = {
    "sway.errors": "SwayError",
    "schemas.errors": "SchemaError",
    "model.errors": "ModelError",
    "stream.errors": "StreamError",
    "stream.exactly_once.units.errors": "ExactlyOnceError",
    "trainer.errors": "TrainerError",
}
"""The root of each package's error tree, by module. Their messages are written for the user."""


class _Commands(TyperGroup):
    """Print expected errors without a traceback and exit with status 1; any other exception is a bug."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _expected_errors() as exc:
            # The notes name the setting that caused the error, which the library cannot know.
            notes = getattr(exc, "__notes__", ())
            typer.echo(f"sway: {' '.join([str(exc), *notes])}", err=True)
            raise typer.Exit(1) from exc
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the error roots whose modules are imported.

    An error that was raised belongs to an imported module. Importing the others would load Faust and torch, which
    takes seconds.
    """
    modules = ((sys.modules.get(module), root) for module, root in _ERROR_ROOTS.items())
    return tuple(getattr(module, root) for module, root in modules if hasattr(module, root))


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Sway scores user behaviour in real time: Kafka, Faust, RocksDB and a fine-tuned BERT, exactly once.\n\n"
    "Settings are environment variables, such as SWAY_KAFKA__BOOTSTRAP_SERVERS. "
    "To try Sway without a cluster, run `sway up` in one terminal and the other commands in another.",
)
app.command("up")(up.up)
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.command("demo")(demo)
app.command("worker")(worker.worker)
app.command("trainer")(trainer.trainer)
app.command("train")(train.train)
app.add_typer(models.app, name="models")
app.command("handoff")(handoff.handoff)
app.command("produce")(produce)
app.command("import")(import_logs)
app.command("tail")(tail)
app.command("replay")(replay)
app.command("evaluate")(evaluate)
app.command("explain")(explain)
app.command("compare")(compare)
app.command("doctor")(doctor)


def main() -> None:
    """Run the command line; the entry point `sway`."""
    app(prog_name="sway")


if __name__ == "__main__":
    main()
