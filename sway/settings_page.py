"""Renders docs/settings.md from the settings tree; see tools/pages.py."""

from sway.settings_tree import DELIMITER, PREFIX, Variable, sections, variables

_TITLES = {"": "The worker"}
_INTRODUCTION = f"""# Settings

Every setting is an environment variable: `{PREFIX}`, then the path of the setting with `{DELIMITER}` between its parts.
A nested name that is not a setting is refused at the start. `sway doctor` also reports misspelt names and settings that
conflict. Messages use the short name: `kafka.bootstrap_servers` for `SWAY_KAFKA__BOOTSTRAP_SERVERS`. An empty default
means that there is none.
"""

MEANINGS = {
    "state_dir": "this worker's own folder: its lock, its slot, and one RocksDB per partition",
    "kafka.bootstrap_servers": "the cluster's addresses, comma-separated",
    "kafka.security_protocol": "how to talk to the brokers",
    "kafka.sasl_mechanism": "for SASL protocols",
    "kafka.sasl_username": "for SASL protocols",
    "kafka.sasl_password": "for SASL protocols; never shown",
    "kafka.ssl_ca_location": "a file of certificate authorities, in PEM",
    "kafka.session_timeout_s": "a worker silent for this long loses its partitions",
    "kafka.rebalance_timeout_s": "how long a rebalance waits for a worker; half of it is left for its last commits",
    "kafka.heartbeat_interval_s": "at most a third of session_timeout_s",
    "topics.prefix": "prefix of every topic name that is not set in full",
    "wire.format": "the format written; both are always read",
    "wire.registry_url": "a Schema Registry, needed for the confluent format",
    "window.max_behaviours": "how many of a user's behaviours are kept",
    "model.device": "auto uses a GPU if there is one",
    "model.dtype": "auto is bf16 on a GPU and fp32 on a CPU; `sway doctor` measures the others",
    "units.max_records": "a unit closes at this many records",
    "units.max_bytes": "a unit closes at this many bytes of input",
    "units.max_in_flight_records": "records read and not committed; above it intake pauses",
    "units.max_in_flight_bytes": "as above, in bytes",
    "units.transaction_timeout_s": "after it the broker aborts the open transaction of a killed worker",
    "web.enabled": "whether /livez, /readyz and /metrics are served",
    "web.host": "where they listen; 0.0.0.0 for all interfaces",
    "web.port": "each worker on a machine needs its own port",
}
"""What a setting means where the tree itself does not say it."""


def page() -> str:
    """Return the whole page, in Markdown."""
    parts = [_INTRODUCTION]
    tree = variables()
    for section, about in {"": "", **sections()}.items():
        title = _TITLES.get(section, section)
        parts.append(f"\n## {title}\n")
        if about:
            parts.append("\n" + about.replace("``", "`") + "\n")
        parts.append("\n| variable | allowed | default | meaning |\n|---|---|---|---|\n")
        parts += [_row(variable) for variable in tree if variable.section == section]
    return "".join(parts)


def meaning(variable: Variable) -> str:
    """Return what a setting means: the tree's own words, or ours; empty if nobody says it."""
    if not variable.description and variable.section == "topics" and variable.default == "":
        return "the topic's full name, in place of the prefix and its own"
    return variable.description or MEANINGS.get(variable.path, "")


def _row(variable: Variable) -> str:
    default = variable.default
    shown = (
        ""
        if default in (None, "", (), {})
        else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    )
    return f"| `{variable.name}` | {variable.allowed} | {shown} | {meaning(variable)} |\n"
