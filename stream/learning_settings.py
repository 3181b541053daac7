"""Settings of the learning loop: labels, the hand-over of examples, and the trainer. Part of stream.settings."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class AttributionRule(BaseModel):
    """Labels an earlier event by a later one of the same user and item within a time limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str = Field(max_length=64, description="action of the labelled event, such as view")
    by: str = Field(max_length=64, description="action of its outcome, such as purchase")
    within_s: float = Field(86_400.0, gt=0, description="maximum event time between the two events")
    y: float = Field(1.0, ge=0, le=1)


class LabelSettings(BaseModel):
    """Label sources, in any combination. Times are event times."""

    model_config = ConfigDict(extra="forbid")

    outcomes: bool = Field(True, description="a record of the outcomes topic labels its event at once")
    rules: tuple[AttributionRule, ...] = Field((), description="the first matching rule gives y")
    weights: dict[str, float] = Field(
        {}, description="weights by action; z is the largest weight of an action within the horizon"
    )
    negative: float | None = Field(
        None, ge=0, le=1, description="y of an event without an outcome at the horizon; None: no example"
    )
    horizon_s: float = Field(86_400.0, gt=0, description="how long after its event an outcome counts")
    grace_s: float = Field(3_600.0, ge=0, description="how late or out of order records may arrive")
    ticks: bool = Field(
        True,
        description="write ticks to the outcomes topic, so that labels of an idle partition become due",
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
            if len(action) > 64:  # the state truncates actions to this length
                raise ValueError(f"labels.weights: {action!r} has more than 64 characters")
        return self

    @property
    def wanted(self) -> bool:
        """Whether any label source is enabled."""
        return self.outcomes or bool(self.rules) or self.negative is not None


class HandoverSettings(BaseModel):
    """When accumulated examples are handed over to a trainer."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="whether the leading worker hands over automatically")
    min_examples: int = Field(10_000, gt=0, description="number of new examples that triggers a hand-over")
    max_interval_s: float = Field(
        86_400.0, gt=0, description="fewer examples, at least one, are handed over after this time"
    )


class TrainerSettings(BaseModel):
    """The trainer service, `sway trainer`: its training data, and the gate that a challenger must pass."""

    model_config = ConfigDict(extra="forbid")

    work_dir: Path = Field(
        Path("trainer-work"),
        description="running trainings and their examples, to resume after a restart; one folder per trainer",
    )
    config: Path | None = Field(None, description="a TOML file of training parameters, see docs/training.md")
    base: Path | None = Field(
        None, description="Hugging Face checkpoint to start from while there is no champion"
    )
    older_examples: int = Field(
        20_000,
        ge=0,
        description="number of examples before a request's ranges that are also used for training",
    )
    valid_share: float = Field(
        0.1, ge=0, lt=1, description="share of the newest training examples used for early stopping"
    )
    gate_share: float = Field(
        0.25, gt=0, lt=1, description="share of a request's newest examples reserved for the gate"
    )
    gate_confidence: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="1 minus the probability, over all requests, that a champion is replaced by a challenger that is "
        "no better",
    )
    gate_min_improvement: float = Field(0.0, ge=0, description="the loss must decrease by more than this")
    gate_min_examples: int = Field(
        500, gt=0, description="with fewer examples for the gate, nothing is promoted"
    )
    gate_min_users: int = Field(50, ge=2, description="with fewer users among them, nothing is promoted")
    gate_max_slowdown: float | None = Field(
        1.25, gt=0, description="maximum forward time per text, relative to the champion's"
    )
    gate_max_ms_per_text: float | None = Field(
        None, gt=0, description="maximum forward time per text, in milliseconds"
    )
    max_tries: int = Field(
        8,
        gt=0,
        description="a request is rejected after this many failures; an unreachable broker or storage is no failure",
    )
    threads: int | None = Field(None, gt=0, description="CPU threads; None: torch's default")
    nice: int = Field(
        10, ge=0, le=19, description="nice value, so that a worker on the same machine has priority"
    )
    web_enabled: bool = Field(True, description="whether /livez, /readyz and /metrics are served")
    web_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all interfaces")
    web_port: int = Field(6070, ge=1, le=65535, description="must differ between trainers on a machine")
