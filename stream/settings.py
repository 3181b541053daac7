"""The one typed settings tree, and the only reader of the environment.

Every setting can be given as an environment variable: the prefix ``SWAY_``, then the path with two
underscores between its parts, for example ``SWAY_KAFKA__BOOTSTRAP_SERVERS`` or ``SWAY_UNITS__MAX_RECORDS``.
The core takes values out of this tree, never the tree itself.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024
PARTITIONER = "murmur2_random"  # Java's and Faust's; librdkafka's own default is another


# Of `{app_id}-{slot}`: the hand-over's transactional ids end in "-handover", a replay's hold "-replay-".
_TAKEN_SLOT = re.compile(r"(.*-)?(handover|replay-.*)")


def _free_slot(value: str | None) -> str | None:
    if value is not None and _TAKEN_SLOT.fullmatch(value):
        raise ValueError(
            f"slot={value!r} makes a transactional id that a hand-over or a replay takes, which would fence this "
            "worker. Choose another: one that neither ends in 'handover' nor holds 'replay-', alone or after a dash"
        )
    return value


def _no_trailing_dot(value: str) -> str:
    return value.rstrip(".")


class KafkaSettings(BaseModel):
    """How to reach the cluster; what confluent-kafka and aiokafka share."""

    model_config = ConfigDict(extra="forbid")

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: Path | None = None
    session_timeout_s: float = Field(30.0, gt=0)
    rebalance_timeout_s: float = Field(60.0, gt=0)
    heartbeat_interval_s: float = Field(3.0, gt=0)
    connect_timeout_s: float = Field(10.0, gt=0, description="no answer by then ends the process")

    def client_config(self) -> dict[str, str]:
        """Return the connection settings under librdkafka's names, secrets in the clear."""
        config = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.sasl_username or ""
            config["sasl.password"] = self.sasl_password.get_secret_value() if self.sasl_password else ""
        if self.ssl_ca_location is not None:
            config["ssl.ca.location"] = str(self.ssl_ca_location)
        return config

    @model_validator(mode="after")
    def _sasl_needs_a_user(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(
                f"kafka.security_protocol={self.security_protocol} needs kafka.sasl_username and "
                "kafka.sasl_password"
            )
        if self.heartbeat_interval_s * 3 > self.session_timeout_s:
            raise ValueError(
                f"kafka.session_timeout_s={self.session_timeout_s} must be at least three times "
                f"kafka.heartbeat_interval_s={self.heartbeat_interval_s}"
            )
        return self


class TopicSettings(BaseModel):
    """Topic names: ``prefix`` and a dot before each, unless a name is set in full."""

    model_config = ConfigDict(extra="forbid")

    prefix: Annotated[str, AfterValidator(_no_trailing_dot)] = "sway"
    partitions: int = Field(4, gt=0, description="used by `sway topics create` and `sway up`")
    replication: int | None = Field(
        None,
        gt=0,
        description="replicas of the topics and changelogs that Sway creates; None: one a broker, at most 3. With 3 or "
        "more they have min.insync.replicas=2",
    )
    max_ahead_s: float = Field(
        3600.0,
        gt=0,
        description="`sway topics create` lets the broker refuse events and outcomes further ahead of its clock "
        "(message.timestamp.after.max.ms)",
    )
    events: str = ""
    outcomes: str = ""
    scores: str = ""
    scores_shadow: str = ""
    examples: str = ""
    training: str = ""
    models: str = ""
    dead_letters: str = ""
    recommendation_requests: str = ""
    recommendations: str = ""

    @model_validator(mode="after")
    def _fill_names(self) -> Self:
        for field, suffix in _TOPIC_SUFFIXES.items():
            if not getattr(self, field):
                object.__setattr__(self, field, f"{self.prefix}.{suffix}")
        return self

    def names(self) -> dict[str, str]:
        """Return full topic names by field name."""
        return {field: getattr(self, field) for field in _TOPIC_SUFFIXES}


_TOPIC_SUFFIXES = {
    "events": "events",
    "outcomes": "outcomes",
    "scores": "scores",
    "scores_shadow": "scores.shadow",
    "examples": "examples",
    "training": "training",
    "models": "models",
    "dead_letters": "dead-letters",
    "recommendation_requests": "recommendation-requests",
    "recommendations": "recommendations",
}


class WireSettings(BaseModel):
    """Which Avro wire format is written; both are always read if their ids can be resolved."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["single_object", "confluent"] = "single_object"
    registry_url: str | None = None
    max_record_bytes: int = Field(2 * 1024 * 1024, gt=0, description="longer values are dead letters")
    unknown_schema: Literal["dead_letter", "pause"] = Field(
        "dead_letter",
        description="what a worker does with an event or outcome whose schema nobody knows; pause: its partition waits "
        "until the schema is known, which takes an upgrade of the worker or an entry in the Schema Registry",
    )

    @model_validator(mode="after")
    def _confluent_needs_a_registry(self) -> Self:
        if self.format == "confluent" and not self.registry_url:
            raise ValueError("wire.format=confluent needs wire.registry_url")
        return self


class WindowSettings(BaseModel):
    """The per-user sliding window."""

    model_config = ConfigDict(extra="forbid")

    max_behaviours: int = Field(50, gt=0)
    max_bytes: int = Field(4096, gt=0, le=900_000, description="encoded; the oldest behaviours are dropped")


class TextSettings(BaseModel):
    """Limits on the behaviour text; how it reads is the model's own matter."""

    model_config = ConfigDict(extra="forbid")

    max_item_text_chars: int = Field(512, gt=0, description="longer item texts are cut and flagged")
    cached_behaviours: int = Field(
        100_000, gt=0, description="token ids kept, in behaviours of 1 KB at most on average"
    )


class ModelSettings(BaseModel):
    """Where the champion comes from and how it is run."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    registry: str = Field("registry", description="a folder, or any fsspec address")
    version: str | None = Field(None, description="pin one version; None follows the champion")
    poll_interval_s: float = Field(2.0, gt=0, description="how often a new champion is looked for")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_batch_tokens: int | None = Field(
        None, gt=0, description="rows times the longest row; None: 2,048 on a CPU, 32,768 on a GPU"
    )
    max_batch_rows: int | None = Field(
        None, gt=0, description="texts in one forward pass; None: 256 on a CPU, 1,024 on a GPU"
    )
    max_wait_s: float = Field(0.005, ge=0, description="how long a text may wait for a fuller batch")
    cached_vectors: int = Field(
        200_000,
        gt=0,
        description="texts whose vectors a late model keeps on its device, about 1.8 KB each with 384 numbers",
    )


class AttributionRule(BaseModel):
    """A later event that says what came of an earlier one: same user, same item, within a time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str = Field(max_length=64, description="of the event that is labelled, such as view")
    by: str = Field(max_length=64, description="the action that is its outcome, such as purchase")
    within_s: float = Field(86_400.0, gt=0, description="from the labelled event to the other, event times")
    y: float = Field(1.0, ge=0, le=1)


class LabelSettings(BaseModel):
    """Where labels come from; any of the three together. Times are event times."""

    model_config = ConfigDict(extra="forbid")

    outcomes: bool = Field(True, description="the outcomes topic closes an event at once")
    rules: tuple[AttributionRule, ...] = Field((), description="the first rule that fits gives y")
    weights: dict[str, float] = Field(
        {}, description="z is the strongest of these actions within the horizon"
    )
    negative: float | None = Field(
        None, ge=0, le=1, description="y when the horizon runs out; None: no example then"
    )
    horizon_s: float = Field(86_400.0, gt=0, description="how long after its event an outcome counts")
    grace_s: float = Field(3_600.0, ge=0, description="how late or out of order records may come")
    ticks: bool = Field(
        True,
        description="write ticks to the outcomes topic, so that the labels of an idle partition come due",
    )

    @model_validator(mode="after")
    def _rules_fit_the_horizon(self) -> Self:
        for rule in self.rules:
            if rule.within_s > self.horizon_s:
                raise ValueError(
                    f"labels.rules: {rule.by!r} within {rule.within_s:g} s is beyond "
                    f"labels.horizon_s={self.horizon_s:g}"
                )
        for action, weight in self.weights.items():
            if not 0 <= weight <= 1:
                raise ValueError(f"labels.weights: {action!r} has {weight:g}; z is in [0, 1]")
            if len(action) > 64:  # the state keeps so much of an action
                raise ValueError(f"labels.weights: {action!r} has more than 64 characters")
        return self

    @property
    def wanted(self) -> bool:
        """Whether any label can come at all."""
        return self.outcomes or bool(self.rules) or self.negative is not None


class HandoverSettings(BaseModel):
    """When the examples that have piled up are handed to a trainer."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="whether the worker that leads hands over by itself")
    min_examples: int = Field(10_000, gt=0, description="so many new examples are handed over")
    max_interval_s: float = Field(
        86_400.0, gt=0, description="or fewer after this long, if there are any at all"
    )


class TrainerSettings(BaseModel):
    """The trainer service, `sway trainer`: what it learns from, and what a challenger must show."""

    model_config = ConfigDict(extra="forbid")

    work_dir: Path = Field(
        Path("trainer-work"),
        description="trainings under way and their examples, to resume after a restart; one for each trainer",
    )
    config: Path | None = Field(None, description="a TOML file of training knobs, see docs/training.md")
    base: Path | None = Field(
        None, description="a Hugging Face checkpoint to start from while there is no champion"
    )
    older_examples: int = Field(
        20_000, ge=0, description="how many examples from before a request's ranges are learned from too"
    )
    valid_share: float = Field(
        0.1, ge=0, lt=1, description="the newest of what is learned from, for early stopping"
    )
    gate_share: float = Field(
        0.25, gt=0, lt=1, description="the newest of a request's examples, for the gate alone"
    )
    gate_confidence: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="1 minus the chance that a champion falls to challengers that are no better, over all requests",
    )
    gate_min_improvement: float = Field(0.0, ge=0, description="by more than so much loss")
    gate_min_examples: int = Field(500, gt=0, description="with fewer to judge by, nothing is promoted")
    gate_min_users: int = Field(50, ge=2, description="with fewer users among them, nothing is promoted")
    gate_max_slowdown: float | None = Field(
        1.25, gt=0, description="of a text's forward pass, against the champion"
    )
    gate_max_ms_per_text: float | None = Field(
        None, gt=0, description="of a text's forward pass, in milliseconds"
    )
    max_tries: int = Field(
        8,
        gt=0,
        description="a request that has failed so often is rejected; a broker or a storage that is away is no failure",
    )
    threads: int | None = Field(None, gt=0, description="of the CPU; none leaves torch's own number")
    nice: int = Field(10, ge=0, le=19, description="so that a worker on the same machine goes first")
    web_enabled: bool = Field(True, description="whether /livez, /readyz and /metrics are served")
    web_host: str = Field("127.0.0.1", description="where they listen; 0.0.0.0 for all interfaces")
    web_port: int = Field(6070, ge=1, le=65535, description="a port of its own for each trainer of a machine")


class UnitSettings(BaseModel):
    """The commit unit: what is written in one Kafka transaction."""

    model_config = ConfigDict(extra="forbid")

    max_records: int = Field(512, gt=0)
    max_bytes: int = Field(8 * 1024 * 1024, gt=0)
    linger_s: float = Field(0.02, ge=0, description="an idle stream closes the unit after this")
    max_in_flight_records: int = Field(8192, gt=0)
    max_in_flight_bytes: int = Field(64 * 1024 * 1024, gt=0)
    transaction_timeout_s: float = Field(10.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _values_are_bounded_in_bytes(cls, given: Any) -> Any:
        if isinstance(given, dict) and "cached_values" in given:
            raise ValueError(
                "units.cached_values is gone: it bounded a number of values, not their bytes. Set memory.values_mb"
            )
        return given

    @model_validator(mode="after")
    def _a_unit_fits_in_flight(self) -> Self:
        if self.max_records > self.max_in_flight_records:
            raise ValueError(
                f"units.max_records={self.max_records} is above "
                f"units.max_in_flight_records={self.max_in_flight_records}"
            )
        return self


class MemorySettings(BaseModel):
    """What the state may take in memory, in MB of 1024 * 1024 bytes, whatever the number of users and partitions."""

    model_config = ConfigDict(extra="forbid")

    values_mb: int = Field(
        512, ge=16, description="recently used state kept decoded: windows, pending labels, estimates, items"
    )
    rocksdb_mb: int = Field(
        256, ge=32, description="RocksDB's blocks, indexes and write buffers, of all partitions together"
    )


class ReplaySettings(BaseModel):
    """`sway replay`: how much is done at once, and how much is done again after an interruption."""

    model_config = ConfigDict(extra="forbid")

    batch_records: int = Field(
        20_000, gt=0, description="events of a partition that are written together, into one Parquet file"
    )
    batch_bytes: int = Field(64 * 1024 * 1024, gt=0, description="or fewer, once these hold so many")
    batch_s: float = Field(30.0, gt=0, description="or fewer, after so long")
    max_in_flight_texts: int | None = Field(
        None, gt=0, description="waiting for the model; None: 1,024 on a CPU, 32,768 on a GPU"
    )
    partitions_at_once: int = Field(
        2, gt=0, description="that one process reads; the others wait for their turn"
    )


class TimeSettings(BaseModel):
    """What counts as an absurd time, and when silence counts as stuck."""

    model_config = ConfigDict(extra="forbid")

    max_ahead_s: float = Field(3600.0, ge=0, description="of Kafka's record time; beyond: dead letter")
    stuck_after_s: float = Field(
        120.0, gt=0, description="lag, or a recovery, without progress for this long ends the process"
    )


class WebSettings(BaseModel):
    """Health and metrics."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(6066, ge=1, le=65535)


class Settings(BaseSettings):
    """Everything that can be set. See `sway doctor` for a check of a live configuration."""

    model_config = SettingsConfigDict(env_prefix="SWAY_", env_nested_delimiter="__", extra="forbid")

    app_id: str = Field("sway", min_length=1, description="the consumer group")
    state_dir: Path = Path("state")
    slot: Annotated[str | None, AfterValidator(_free_slot)] = Field(
        None, description="names this worker's transactions; None: made at first start"
    )
    drop_unused_stores_after_s: float = Field(
        604_800.0,
        ge=0,
        description="a partition's store that this worker has not used for so long is removed, and rebuilt from the "
        "changelog if the partition comes back; 0 keeps all",
    )
    offset_reset: Literal["earliest", "latest", "error"] = Field(
        "earliest", description="where a partition without a committed offset starts"
    )
    lost_offset_reset: Literal["earliest", "latest", "error"] = Field(
        "error",
        description="where a partition goes on whose committed offset retention has passed, or whose topic was "
        "made again; counted in sway_offset_resets and sway_lost_records",
    )
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    wire: WireSettings = WireSettings()
    window: WindowSettings = WindowSettings()
    text: TextSettings = TextSettings()
    model: ModelSettings = ModelSettings()
    labels: LabelSettings = LabelSettings()
    handover: HandoverSettings = HandoverSettings()
    trainer: TrainerSettings = TrainerSettings()
    units: UnitSettings = UnitSettings()
    memory: MemorySettings = MemorySettings()
    replay: ReplaySettings = ReplaySettings()
    time: TimeSettings = TimeSettings()
    web: WebSettings = WebSettings()
