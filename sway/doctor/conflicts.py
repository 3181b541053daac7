"""Conflicts between settings that are valid on their own.

Settings that can never work are rejected by stream.settings and stream.assembly.check.
"""

from collections import Counter
from collections.abc import Collection, Iterator

from stream.settings import KafkaSettings, Settings
from sway.doctor.findings import Finding, fail, ok, warn
from sway.settings_tree import unknown_variables

CHECK = "settings"
# Kafka's default of group.min.session.timeout.ms.
_BROKER_MIN_SESSION_S = 6.0


def find_conflicts(settings: Settings, variables: Collection[str]) -> list[Finding]:
    """Return the conflicts, or one ok finding if there are none.

    variables: the names of all environment variables; those with our prefix are checked.
    """
    findings = [
        *_misspelt(variables),
        *_same_topic(settings),
        *_security(settings.kafka),
        *_times(settings),
        *_sizes(settings),
    ]
    return findings or [ok(CHECK, "no conflicts")]


def _misspelt(variables: Collection[str]) -> Iterator[Finding]:
    for name, meant in unknown_variables(variables).items():
        advice = f"did you mean {meant}?" if meant else "see docs/settings.md"
        yield warn(CHECK, f"{name} is not a setting and is ignored", advice)


def _same_topic(settings: Settings) -> Iterator[Finding]:
    counts = Counter(settings.topics.names().values())
    for topic, count in counts.items():
        if count > 1:
            fields = [name for name, value in settings.topics.names().items() if value == topic]
            yield fail(
                CHECK,
                f"{' and '.join(f'topics.{name}' for name in fields)} are both {topic}",
                "give each its own topic",
            )


def _security(kafka: KafkaSettings) -> Iterator[Finding]:
    protocol = kafka.security_protocol
    if kafka.sasl_username and not protocol.startswith("SASL"):
        yield warn(
            CHECK,
            f"kafka.sasl_username is set, but kafka.security_protocol={protocol} does not use it",
            "set SWAY_KAFKA__SECURITY_PROTOCOL=SASL_SSL, or remove the user name",
        )
    if protocol == "SASL_PLAINTEXT":
        yield warn(
            CHECK,
            "kafka.security_protocol=SASL_PLAINTEXT sends all data unencrypted",
            "use SASL_SSL",
        )
    ca = kafka.ssl_ca_location
    if ca is None:
        return
    if not protocol.endswith("SSL"):
        yield warn(
            CHECK, f"kafka.ssl_ca_location is set, but kafka.security_protocol={protocol} does not use it"
        )
    elif not ca.exists():
        yield fail(CHECK, f"kafka.ssl_ca_location={ca} does not exist", "set SWAY_KAFKA__SSL_CA_LOCATION")


def _times(settings: Settings) -> Iterator[Finding]:
    kafka, stuck_s = settings.kafka, settings.time.stuck_after_s
    timeout_s = settings.units.transaction_timeout_s
    if stuck_s <= kafka.session_timeout_s:
        yield warn(
            CHECK,
            f"time.stuck_after_s={stuck_s:g} is not above kafka.session_timeout_s={kafka.session_timeout_s:g}: a "
            "worker would exit while it waits for the session of a killed worker to expire",
            "raise SWAY_TIME__STUCK_AFTER_S",
        )
    if timeout_s > kafka.rebalance_timeout_s / 2:
        yield warn(
            CHECK,
            f"units.transaction_timeout_s={timeout_s:g} is above half of "
            f"kafka.rebalance_timeout_s={kafka.rebalance_timeout_s:g}: a worker can miss a rebalance while it commits",
            "lower SWAY_UNITS__TRANSACTION_TIMEOUT_S",
        )
    if kafka.session_timeout_s < _BROKER_MIN_SESSION_S:
        yield warn(
            CHECK,
            f"kafka.session_timeout_s={kafka.session_timeout_s:g} is below the default minimum of a broker, "
            f"{_BROKER_MIN_SESSION_S:g}",
            "raise SWAY_KAFKA__SESSION_TIMEOUT_S, or the broker's group.min.session.timeout.ms",
        )


def _sizes(settings: Settings) -> Iterator[Finding]:
    units = settings.units
    if units.max_bytes > units.max_in_flight_bytes:
        yield warn(
            CHECK,
            f"units.max_bytes={units.max_bytes} is above units.max_in_flight_bytes={units.max_in_flight_bytes}: a "
            "unit never reaches its size limit",
            "raise SWAY_UNITS__MAX_IN_FLIGHT_BYTES",
        )
