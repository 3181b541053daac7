"""Links between pages stay valid when the pages are gathered for the site."""

import doctest
from pathlib import Path

import pytest

from tools import site
from tools.site import ROOT, gather, moved


@pytest.mark.parametrize(
    ("path", "link", "on_site"),
    [
        ("README.md", "[a](docs/labels.md#time)", "[a](labels.md#time)"),
        ("README.md", "![a](docs/images/demo.svg)", "![a](images/demo.svg)"),
        ("docs/labels.md", "[a](../ARCHITECTURE.md)", "[a](ARCHITECTURE.md)"),
        ("docs/decisions/001-x.md", "[a](../labels.md)", "[a](../labels.md)"),
        ("docs/decisions/001-x.md", "[a](../../README.md)", "[a](../index.md)"),
        ("CONTRIBUTING.md", "[a](sway/cli.py)", "a"),
        ("README.md", "[a](https://kafka.apache.org/x.md)", "[a](https://kafka.apache.org/x.md)"),
        ("README.md", "[a](#connect-a-service)", "[a](#connect-a-service)"),
    ],
)
def test_a_link_moves_with_its_page(path: str, link: str, on_site: str) -> None:
    assert moved(link, path) == on_site


def test_every_page_is_in_the_navigation(tmp_path: Path) -> None:
    gather(tmp_path)
    pages = {page.relative_to(tmp_path).as_posix() for page in tmp_path.rglob("*.md")}
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in sorted(pages) if f": {page}\n" not in navigation] == []


def test_the_examples_in_docstrings_pass() -> None:
    assert doctest.testmod(site) == (0, 2)
