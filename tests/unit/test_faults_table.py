"""The page of fault cases is generated from a run's rows."""

from tests.faults.table import page

ROW = {
    "case": "disk full",
    "events": 1200,
    "scores": 1180,
    "dead_letters": 25,
    "lost": 0,
    "duplicates": 0,
    "recovery_s": 4.25,
    "took_s": 30.0,
    "notes": {"longest pause": "2.0 s", "starts": 5},
}


def test_a_row_holds_figures_and_notes() -> None:
    shown = page([ROW], ["disk full"])
    assert shown.endswith(
        "| disk full | 1,200 | 1,180 | 25 | 0 | 0 | 4.2 s | longest pause 2.0 s; starts 5 |\n"
    )


def test_cases_that_did_not_run_are_named() -> None:
    assert page([ROW], ["disk full", "poison"]).endswith("Not part of this run:\n\n- poison\n")
