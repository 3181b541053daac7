"""The generated pages under docs/ agree with the code."""

import pytest

from tools import metrics_page, pages
from tools.metric_notes import MEANINGS, WATCH


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_committed_page_is_up_to_date(name: str) -> None:
    assert (pages.DOCS / name).read_text(encoding="utf-8") == pages.rendered(name), pages.COMMAND


def test_notes_name_existing_metrics() -> None:
    rows = [*metrics_page.worker_rows(), *metrics_page.trainer_rows()]
    assert {*MEANINGS, *WATCH} <= {row.name for row in rows}


def test_the_page_shows_a_metric_with_its_labels_and_type() -> None:
    assert "\n| `sway_lag_records{topic,partition}` | gauge |" in metrics_page.page()
    assert "\n| `sway_trainer_retries_total` | counter |" in metrics_page.page()
