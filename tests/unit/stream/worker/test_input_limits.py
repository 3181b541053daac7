"""Input topics that accept records from the far future."""

import pytest

from stream.worker.input_limits import AFTER_MAX_MS, find_unlimited

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("config", "limit_ms", "unlimited"),
    [
        ({AFTER_MAX_MS: str(HOUR)}, HOUR, False),
        # The default of Kafka, one hour, is sufficient for a smaller limit.
        ({AFTER_MAX_MS: str(HOUR)}, 1000, False),
        ({AFTER_MAX_MS: str(2 * HOUR)}, HOUR, True),
        ({AFTER_MAX_MS: str(2 * HOUR)}, 2 * HOUR, False),
        ({AFTER_MAX_MS: str(2**63 - 1)}, HOUR, True),
        ({}, HOUR, True),
        ({"message.timestamp.type": "LogAppendTime"}, HOUR, False),
    ],
)
def test_topics_without_a_sufficient_limit_are_found(
    config: dict[str, str], limit_ms: int, unlimited: bool
) -> None:
    assert find_unlimited({"sway.events": config}, limit_ms) == ["sway.events"] * unlimited
