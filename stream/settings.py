"""The settings tree, which is the only reader of the environment.

A setting's environment variable is the prefix ``SWAY_`` and its path with two underscores between the parts, for
example ``SWAY_KAFKA__BOOTSTRAP_SERVERS`` or ``SWAY_UNITS__MAX_RECORDS``. Core modules receive values, not
the tree.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.topics import TOPICS
from stream.learning_settings import HandoverSettings, LabelSettings, TrainerSettings

MEBIBYTE = 1024 * 1024
PARTITIONER = "murmur2_random"  # the default of Java clients and Faust, but not of librdkafka


# Reserved slots: the hand-over's transactional ids end in "-handover", a replay's contain "-replay-".
_TAKEN_SLOT = re.compile(r"(.*-)?(handover|replay-.*)")


def _free_slot(value: str | None) -> str | None:
    if value is not None and _TAKEN_SLOT.fullmatch(value):
        raise ValueError(
            f"slot={value!r} makes a transactional id that a hand-over or a replay uses, which would fence this "
            "worker. Choose another slot that neither ends in 'handover' nor contains 'replay-', alone or after a dash"
        )
    return value


def _no_trailing_dot(value: str) -> str:
    return value.rstrip(".")


class KafkaSettings(BaseModel):
    """Connection to the cluster, shared by confluent-kafka and aiokafka."""

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
    connect_timeout_s: float = Field(
        10.0, gt=0, description="the process ends if the cluster does not answer within this time"
    )

    def client_config(self) -> dict[str, str]:
        """Return the connection settings with librdkafka's names; contains secrets in plain text."""
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
    """Topic names: ``prefix`` and a dot precede each, unless a full name is set."""

    model_config = ConfigDict(extra="forbid")

    prefix: Annotated[str, AfterValidator(_no_trailing_dot)] = "sway"
    partitions: int = Field(4, gt=0, description="used by `sway topics create` and `sway up`")
    replication: int | None = Field(
        None,
        gt=0,
        description="replication factor of topics and changelogs that Sway creates; None: the number of brokers, at "
        "most 3. With 3 or more, min.insync.replicas is 2",
    )
    max_ahead_s: float = Field(
        3600.0,
        gt=0,
        description="`sway topics create` makes the broker reject events and outcomes that are further ahead of its "
        "clock (message.timestamp.after.max.ms)",
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
        for field, topic in TOPICS.items():
            if not getattr(self, field):
                object.__setattr__(self, field, f"{self.prefix}.{topic.suffix}")
        return self

    def names(self) -> dict[str, str]:
        """Return full topic names by field name."""
        return {field: getattr(self, field) for field in TOPICS}


class WireSettings(BaseModel):
    """The Avro wire format for writing; both formats are read if their schema ids can be resolved."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["single_object", "confluent"] = "single_object"
    registry_url: str | None = None
    max_record_bytes: int = Field(2 * 1024 * 1024, gt=0, description="longer values become dead letters")
    unknown_schema: Literal["dead_letter", "pause"] = Field(
        "dead_letter",
        description="how a worker handles an event or outcome with an unknown schema; pause: its partition is paused "
        "until the schema is known, which takes an upgrade of the worker or an entry in the Schema Registry",
    )

    @model_validator(mode="after")
    def _confluent_needs_a_registry(self) -> Self:
        if self.format == "confluent" and not self.registry_url:
            raise ValueError("wire.format=confluent needs wire.registry_url")
        return self


class WindowSettings(BaseModel):
    """The sliding window of a user's behaviours."""

    model_config = ConfigDict(extra="forbid")

    max_behaviours: int = Field(50, gt=0)
    max_bytes: int = Field(
        4096, gt=0, le=900_000, description="maximum encoded size; the oldest behaviours are dropped"
    )


class TextSettings(BaseModel):
    """Limits of the behaviour text; the model defines its format."""

    model_config = ConfigDict(extra="forbid")

    max_item_text_chars: int = Field(512, gt=0, description="longer item texts are truncated and flagged")
    cached_behaviours: int = Field(
        100_000, gt=0, description="behaviours whose token ids are cached, on average at most 1 KB each"
    )


class ModelSettings(BaseModel):
    """Source of the champion, and how it runs."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    registry: str = Field("registry", description="a folder or any fsspec URL")
    version: str | None = Field(None, description="pins a version; None: follow the champion")
    poll_interval_s: float = Field(2.0, gt=0, description="interval of the check for a new champion")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_batch_tokens: int | None = Field(
        None, gt=0, description="rows times the longest row; None: 2,048 on a CPU, 32,768 on a GPU"
    )
    max_batch_rows: int | None = Field(
        None, gt=0, description="texts per forward pass; None: 256 on a CPU, 1,024 on a GPU"
    )
    max_wait_s: float = Field(0.005, ge=0, description="longest wait of a text for a fuller batch")
    cached_vectors: int = Field(
        200_000,
        gt=0,
        description="texts whose vectors a late model keeps on its device, about 1.8 KB each with 384 dimensions",
    )


class UnitSettings(BaseModel):
    """The commit unit: the records committed in one Kafka transaction."""

    model_config = ConfigDict(extra="forbid")

    max_records: int = Field(512, gt=0)
    max_bytes: int = Field(8 * 1024 * 1024, gt=0)
    linger_s: float = Field(0.02, ge=0, description="a unit closes at the latest after this time")
    max_in_flight_records: int = Field(8192, gt=0)
    max_in_flight_bytes: int = Field(64 * 1024 * 1024, gt=0)
    transaction_timeout_s: float = Field(10.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _values_are_bounded_in_bytes(cls, given: Any) -> Any:
        if isinstance(given, dict) and "cached_values" in given:
            raise ValueError(
                "units.cached_values was removed, because it limited the number of values and not their bytes. "
                "Set memory.values_mb"
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
    """Memory limits of the state in MiB, independent of the number of users and partitions."""

    model_config = ConfigDict(extra="forbid")

    values_mb: int = Field(
        512,
        ge=16,
        description="cache of recently used decoded state: windows, pending labels, estimates, items",
    )
    rocksdb_mb: int = Field(
        256, ge=32, description="RocksDB's blocks, indexes and write buffers, of all partitions together"
    )


class ReplaySettings(BaseModel):
    """`sway replay`: batch sizes, which also bound the work repeated after an interruption."""

    model_config = ConfigDict(extra="forbid")

    batch_records: int = Field(
        20_000, gt=0, description="events of a partition written as one batch, into one Parquet file"
    )
    batch_bytes: int = Field(64 * 1024 * 1024, gt=0, description="a smaller batch is written at this size")
    batch_s: float = Field(30.0, gt=0, description="a smaller batch is written after this time")
    max_in_flight_texts: int | None = Field(
        None, gt=0, description="texts that wait for the model; None: 1,024 on a CPU, 32,768 on a GPU"
    )
    partitions_at_once: int = Field(
        2, gt=0, description="partitions that one process reads at the same time; the others wait"
    )


class TimeSettings(BaseModel):
    """Limits for wrong timestamps and for stalls."""

    model_config = ConfigDict(extra="forbid")

    max_ahead_s: float = Field(
        3600.0,
        ge=0,
        description="how far an event or outcome time may be ahead of the record timestamp; beyond it: dead letter",
    )
    stuck_after_s: float = Field(
        120.0, gt=0, description="the process ends after this time with lag or a recovery but no progress"
    )


class WebSettings(BaseModel):
    """Health and metrics endpoints."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(6066, ge=1, le=65535)


class Settings(BaseSettings):
    """All settings. `sway doctor` checks a live configuration."""

    model_config = SettingsConfigDict(env_prefix="SWAY_", env_nested_delimiter="__", extra="forbid")

    app_id: str = Field("sway", min_length=1, description="the consumer group")
    state_dir: Path = Path("state")
    slot: Annotated[str | None, AfterValidator(_free_slot)] = Field(
        None, description="part of this worker's transactional id; None: generated at the first start"
    )
    drop_unused_stores_after_s: float = Field(
        604_800.0,
        ge=0,
        description="a partition's store that this worker has not used for this time is deleted; it is rebuilt from "
        "the changelog if the partition comes back. 0 keeps all stores",
    )
    offset_reset: Literal["earliest", "latest", "error"] = Field(
        "earliest", description="where a partition without a committed offset starts"
    )
    lost_offset_reset: Literal["earliest", "latest", "error"] = Field(
        "error",
        description="where a partition continues if its committed offset was removed by retention or its topic was "
        "recreated; counted in sway_offset_resets and sway_lost_records",
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
