"""Collection of the documentation site's pages: `python -m tools.site build/docs/pages`; see mkdocs.yml.

docs/ is the site's root, README.md its front page, and the other root pages are placed beside it. Links are adjusted:
`../ARCHITECTURE.md` becomes `ARCHITECTURE.md`, and `docs/labels.md` becomes `labels.md`. A link to a folder, or to a
file that is not a page, becomes plain text.
"""

import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
"""Pages outside docs/ and their names on the site."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_site(path: str) -> str | None:
    """Return the site path of a repository file, or None if it is not on the site.

    path: relative to the repository's root, with forward slashes.

    >>> on_site("README.md"), on_site("docs/labels.md"), on_site("sway/cli.py")
    ('index.md', 'labels.md', None)
    """
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    is_file = PurePosixPath(path).suffix != ""
    return path.removeprefix("docs/") if path.startswith("docs/") and is_file else None


def moved(text: str, path: str) -> str:
    """Return a page's Markdown with its relative links adjusted to the site.

    text: the Markdown of the page. path: its path, relative to the repository's root.

    >>> moved("see [labels](docs/labels.md#time) and [code](sway/cli.py)", "README.md")
    'see [labels](labels.md#time) and code'
    """
    here = str(PurePosixPath(on_site(path) or path).parent)

    def link(found: re.Match[str]) -> str:
        image, words, target, anchor = found.groups(default="")
        if "://" in target or not target:
            return found[0]
        place = on_site(normpath(str(PurePosixPath(path).parent / target)))
        return words if place is None else f"{image}[{words}]({relpath(place, here)}{anchor})"

    return _LINK.sub(link, text)


def gather(folder: Path) -> None:
    """Write all pages and images of the site to a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT).as_posix()
        (folder / page.relative_to(ROOT / "docs")).write_text(_moved_page(path), encoding="utf-8")
    for path, place in ROOT_PAGES.items():
        (folder / place).write_text(_moved_page(path), encoding="utf-8")


def _moved_page(path: str) -> str:
    return moved((ROOT / path).read_text(encoding="utf-8"), path)


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
