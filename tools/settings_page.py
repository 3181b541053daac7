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
    "state_dir": "the folder of this worker only: its lock, its slot, and a RocksDB per partition",
    "kafka.bootstrap_servers": "comma-separated host:port of the brokers",
    "kafka.security_protocol": "protocol for connections to the brokers",
    "kafka.sasl_mechanism": "for SASL protocols",
    "kafka.sasl_username": "for SASL protocols",
    "kafka.sasl_password": "for SASL protocols; never printed",
    "kafka.ssl_ca_location": "PEM file of certificate authorities",
    "kafka.session_timeout_s": "a worker without heartbeats for this time loses its partitions",
    "kafka.rebalance_timeout_s": "how long a rebalance waits for a worker, half of it for last commits",
    "kafka.heartbeat_interval_s": "at most a third of session_timeout_s",
    "topics.prefix": "prefix of every topic name that is not set in full",
    "wire.format": "format to write; both formats can always be read",
    "wire.registry_url": "URL of a Schema Registry, required for the confluent format",
    "window.max_behaviours": "number of behaviours kept per user",
    "model.device": "auto uses a GPU if there is one",
    "model.dtype": "auto is bf16 on a GPU and fp32 on a CPU; `sway doctor` measures the alternatives",
    "units.max_records": "a unit closes at this many records",
    "units.max_bytes": "a unit closes at this many bytes of input",
    "units.max_in_flight_records": "limit of records read but not committed; intake pauses above it",
    "units.max_in_flight_bytes": "the same limit in bytes",
    "units.transaction_timeout_s": "the broker aborts the open transaction of a killed worker after this time",
    "web.enabled": "whether /livez, /readyz and /metrics are served",
    "web.host": "address to listen on; 0.0.0.0 for all interfaces",
    "web.port": "port to listen on; each worker of a machine needs its own",
}
"""The meaning of settings that have no description in the settings tree."""


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
    """Return the meaning of a setting, from the settings tree or MEANINGS; empty if it has none."""
    if not variable.description and variable.section == "topics" and variable.default == "":
        return "full topic name, instead of the prefix and the default name"
    return variable.description or MEANINGS.get(variable.path, "")


def _row(variable: Variable) -> str:
    default = variable.default
    shown = (
        ""
        if default in (None, "", (), {})
        else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    )
    return f"| `{variable.name}` | {variable.allowed} | {shown} | {meaning(variable)} |\n"
