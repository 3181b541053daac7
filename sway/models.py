"""`sway models list|show|promote|rollback|compare|pin|unpin|prune`."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from model.registry import ModelRegistry

app = typer.Typer(no_args_is_help=True, help="Manage the model versions of a registry.")

_Version = Annotated[str, typer.Argument(help="Id of the version.")]
_Registry = Annotated[str | None, typer.Option(help="Model registry [default: SWAY_MODEL__REGISTRY].")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_Announce = Annotated[bool, typer.Option(help="Also publish an announcement to the models topic.")]


@app.command("list")
def list_versions(registry: _Registry = None, as_json: _Json = False) -> None:
    """List all versions, oldest first.

    Example: `sway models list`
    """
    store = _open(registry)
    rows = sorted(
        (_describe(store, version) for version in _all(store)), key=lambda row: row["created_at_ms"] or 0
    )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table("version", "created", "parent", "status", "reason")
    for row in rows:
        table.add_row(
            row["version"], _date(row["created_at_ms"]), row["parent"] or "", row["status"], row["reason"]
        )
    _print(table)


@app.command()
def show(version: _Version, registry: _Registry = None) -> None:
    """Show a version as JSON.

    Prints its manifest, status and reports.

    Example: `sway models show v-3f2a90d1c7e4`
    """
    store = _open(registry)
    typer.echo(json.dumps(_describe(store, version, full=True), indent=2))


@app.command()
def promote(
    version: _Version,
    reason: Annotated[str, typer.Option(help="Reason, kept in the registry.")] = "by hand",
    registry: _Registry = None,
    announce: _Announce = False,
) -> None:
    """Make a version the champion.

    Does not apply the promotion gate. Workers load the new champion within seconds.

    Example: `sway models promote v-3f2a90d1c7e4 --reason "new texts"`
    """
    store = _open(registry)
    number = store.promote(version, reason=reason)
    _announce(announce, version, "promoted", reason)
    typer.echo(f"promotion {number}: {version}")


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Reason, kept in the registry.")],
    registry: _Registry = None,
    announce: _Announce = False,
) -> None:
    """Restore the previous champion.

    Repeat the command to go further back.

    Example: `sway models rollback --reason "AUC fell"`
    """
    store = _open(registry)
    before = store.champion() or ""
    version = store.rollback(reason=reason)
    _announce(announce, before, "rolled_back", f"{reason}; back to {version}")
    typer.echo(f"{version} is the champion again")


@app.command()
def compare(first: _Version, second: _Version, registry: _Registry = None, as_json: _Json = False) -> None:
    """Compare the metrics of two versions.

    Shows the stored metrics; `sway evaluate` measures them again.

    Example: `sway models compare v-3f2a90d1c7e4 v-90b1`
    """
    store = _open(registry)
    sides = [{**store.manifest(name).metrics, **store.verdict(name).metrics} for name in (first, second)]
    names = sorted({*sides[0], *sides[1]})
    if as_json:
        typer.echo(json.dumps({name: [side.get(name) for side in sides] for name in names}, indent=2))
        return
    from rich.table import Table

    table = Table("", first, second, "difference")
    for name in names:
        one, other = (side.get(name) for side in sides)
        difference = "" if one is None or other is None else f"{other - one:+.4g}"
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in (one, other)), difference)
    _print(table)


@app.command()
def pin(
    version: _Version,
    reason: Annotated[str, typer.Option(help="Reason, kept in the registry.")] = "by hand",
    registry: _Registry = None,
) -> None:
    """Protect a version from pruning.

    Example: `sway models pin v-3f2a90d1c7e4 --reason "audited"`
    """
    _open(registry).pin(version, reason)
    typer.echo(f"{version} is pinned")


@app.command()
def unpin(version: _Version, registry: _Registry = None) -> None:
    """Allow a pinned version to be pruned.

    Example: `sway models unpin v-3f2a90d1c7e4`
    """
    _open(registry).unpin(version)
    typer.echo(f"{version} is not pinned")


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="Number of newest versions to keep.")],
    grace_hours: Annotated[
        float,
        typer.Option(min=1, help="Keep versions created, promoted or champion within these hours."),
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option(help="List what would be removed, but remove nothing.")] = False,
    registry: _Registry = None,
) -> None:
    """Remove old versions and their reports.

    Keeps the champion, its parent, the target of a rollback, pinned versions (`sway models pin` or
    SWAY_MODEL__VERSION), the newest versions, and versions that may be in use. Promotion and rejection records are
    kept as well. Prints the removed versions and their sizes.

    Example: `sway models prune --keep 5 --dry-run`
    """
    from model.removal import Removal
    from sway.configuration import load_settings

    store = _open(registry)
    in_settings = load_settings().model.version
    removal = Removal(store)
    gone, kept = removal.prunable(keep, 3600 * grace_hours, () if in_settings is None else (in_settings,))
    total_bytes = 0
    for version in gone:
        size_bytes = removal.size_bytes(version)
        total_bytes += size_bytes
        if not dry_run:
            removal.remove(version)
        typer.echo(f"{version}  {size_bytes / 1e6:,.1f} MB")
    incomplete_bytes = 0 if dry_run else removal.remove_incomplete()
    if incomplete_bytes:
        typer.echo(f"incomplete copies  {incomplete_bytes / 1e6:,.1f} MB")
    for version, reason in kept.items():
        typer.echo(f"{version}  kept: {reason}")
    done = "would be removed" if dry_run else "removed"
    typer.echo(
        f"{len(gone)} versions {done}, {(total_bytes + incomplete_bytes) / 1e6:,.1f} MB; {len(kept)} kept"
    )


def _open(registry: str | None) -> "ModelRegistry":
    # Imported here because torch takes seconds to import.
    from model.registry import ModelRegistry
    from sway.configuration import load_settings

    return ModelRegistry(registry or load_settings().model.registry)


def _all(store: "ModelRegistry") -> list[str]:
    """Return complete versions, and versions whose failed training left only a rejection."""
    return sorted({*store.versions(), *store.rejections()})


def _describe(store: "ModelRegistry", version: str, *, full: bool = False) -> dict[str, Any]:
    from dataclasses import asdict

    standing = store.verdict(version)
    manifest = store.manifest(version) if store.exists(version) else None
    if full:
        return {
            **asdict(standing),
            "manifest": None if manifest is None else asdict(manifest),
            "reports": store.reports(version),
        }
    return {
        "version": version,
        "created_at_ms": None if manifest is None else manifest.created_at_ms,
        "parent": None if manifest is None else manifest.parent,
        "status": standing.status,
        "reason": standing.reason,
    }


def _announce(announce: bool, version: str, event: str, reason: str) -> None:
    if not announce:
        return
    from schemas.records import ModelAnnouncement
    from stream.wire import codec_for
    from sway.configuration import load_settings
    from trainer.announce import Announcer

    settings = load_settings()
    topic = settings.topics.models
    codec = codec_for(ModelAnnouncement, topic, settings.wire)
    Announcer(settings.kafka.client_config(), topic, codec)(version, event, reason, {})


def _date(created_at_ms: int | None) -> str:
    if created_at_ms is None:
        return ""
    return datetime.fromtimestamp(created_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)
