"""Live quality covers the newest labelled scores of each model version."""

import math

import pytest

from stream.worker.live_quality import LiveQuality


def test_figures_cover_the_window_and_counts_all_scores() -> None:
    quality = LiveQuality(window=4)
    for _ in range(10):
        quality.add("v1", 1.0, 0.0)
    for y, y_hat in ((1.0, 0.9), (0.0, 0.2), (1.0, 0.6), (0.0, 0.1)):
        quality.add("v1", y, y_hat)
    ((version, figures),) = quality.changed()
    assert version == "v1"
    assert figures["auc"] == 1.0
    assert figures["mse"] == pytest.approx((0.01 + 0.04 + 0.16 + 0.01) / 4)
    expected = -(math.log(0.9) + math.log(0.8) + math.log(0.6) + math.log(0.9)) / 4
    assert figures["log_loss"] == pytest.approx(expected)
    assert (figures["positive_rate"], figures["examples"]) == (0.5, 14)


def test_unchanged_versions_and_undefined_figures_are_left_out() -> None:
    quality = LiveQuality()
    quality.add("v1", 1.0, 0.5)
    assert "auc" not in dict(quality.changed())["v1"]
    assert list(quality.changed()) == []


def test_only_the_newest_versions_are_kept() -> None:
    quality = LiveQuality()
    for number in range(100):
        quality.add(f"v{number}", 1.0, 0.5)
    assert quality.versions == [f"v{number}" for number in range(92, 100)]
    assert {version for version, _ in quality.changed()} == set(quality.versions)


def test_the_serving_version_is_always_kept() -> None:
    quality = LiveQuality()
    quality.serve("champion")
    quality.add("champion", 1.0, 0.5)
    for number in range(100):
        quality.add(f"v{number}", 1.0, 0.5)
    assert quality.versions == [*(f"v{number}" for number in range(93, 100)), "champion"]


def test_a_version_that_serves_again_is_the_newest() -> None:
    quality = LiveQuality()
    for version in ("v1", "v2", "v3"):
        quality.serve(version)
        quality.add(version, 1.0, 0.5)
    quality.serve("v1")
    for number in range(4, 11):
        quality.add(f"v{number}", 1.0, 0.5)
    assert quality.versions == [*(f"v{number}" for number in range(4, 11)), "v1"]
