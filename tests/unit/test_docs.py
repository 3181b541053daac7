"""The pages agree with the code: reason codes, metrics, topics, programs and links."""

import re
from pathlib import Path

import pytest

from schemas.errors import DecodeError
from schemas.topics import TOPICS
from schemas.validate import DETAILS
from stream.settings import TopicSettings

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "schemas",
    "clients",
    "model",
    "stream",
    "trainer",
    "sway",
    "tests",
    "tools",
    "benchmarks",
    "examples",
    "docs",
)
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_has_a_target(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    broken = [
        f"{path}#{anchor}" for path, anchor in links if "://" not in path and not _exists(page, path, anchor)
    ]
    assert broken == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_every_file_named_on_a_page_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`", page.read_text(encoding="utf-8"))
    found = {path: [*ROOT.glob(path.rstrip("/")), *ROOT.glob(f"{path}.py")] for path in named}
    assert [path for path, files in found.items() if not files] == []


def test_every_dead_letter_reason_is_documented() -> None:
    from stream.scoring.processor import KEY_MISMATCH, SCORING_FAILED  # its package imports Faust

    reasons = {error.reason for error in DecodeError.__subclasses__()}
    reasons |= {*DETAILS, KEY_MISMATCH, SCORING_FAILED}
    assert reasons <= _first_cells(OPERATIONS)


def test_every_metric_is_documented() -> None:
    from stream.worker.metrics import WorkerMetrics  # as above
    from trainer.metrics import TrainerMetrics

    families = [*WorkerMetrics().registry.collect(), *TrainerMetrics().registry.collect()]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names <= _first_cells(METRICS)


def test_the_documented_rights_cover_every_topic_of_a_worker() -> None:
    from stream.scoring.labels.state import ESTIMATES, ITEMS, PENDING
    from stream.scoring.processor import WINDOWS  # as above

    rights = OPERATIONS.split("A worker needs these rights", 1)[1].split("Whoever reads", 1)[0]
    changelogs = [f"{table}-changelog`" for table in (WINDOWS, PENDING, ESTIMATES, ITEMS)]
    assert [name for name in [*changelogs, "DescribeConfigs"] if name not in rights] == []
    written = {line.split("|")[1] for line in rights.splitlines() if "Write" in line}
    assert all(
        any(topic in cell for cell in written)
        for topic in ("sway.scores", "sway.dead-letters", "sway.examples", "sway.training", "sway.outcomes")
    )


def test_every_topic_is_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert [name for name in TopicSettings().names().values() if f"`{name}`" not in glossary] == []


def test_the_table_of_contracts_has_the_facts_of_every_topic() -> None:
    page = (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines() if "| sway." in line
    ]
    told = {name: (record, key) for record, names, key in rows for name in names.split(", ")}
    facts = {f"sway.{topic.suffix}": (topic.record.__name__, topic.key) for topic in TOPICS.values()}
    assert told.keys() == facts.keys()
    for name, (record, key) in facts.items():
        assert told[name][0] == record
        assert told[name][1].startswith(key)


def test_every_topic_has_a_setting_for_its_name() -> None:
    settings = {name for name, field in TopicSettings.model_fields.items() if field.default == ""}
    assert settings == TOPICS.keys()
    assert TopicSettings().names() == {name: f"sway.{topic.suffix}" for name, topic in TOPICS.items()}


@pytest.mark.parametrize(
    ("page", "program"),
    [("README.md", "produce_event.py"), ("docs/exactly-once.md", "exactly_once.py")],
)
def test_programs_on_pages_are_the_tested_ones(page: str, program: str) -> None:
    code = (ROOT / "examples" / program).read_text(encoding="utf-8")
    assert f"```python\n{code}```\n" in (ROOT / page).read_text(encoding="utf-8")


def _exists(page: Path, path: str, anchor: str) -> bool:
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site generate them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _first_cells(page: str) -> set[str]:
    """Return the names in the first column of a page's tables, without labels."""
    rows = (line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    return {name for cell in rows for name in re.findall(r"`([a-z_0-9]+)", cell)}
