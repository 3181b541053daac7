"""The secret scan finds what is planted, only in what git tracks, and lets pass what was accepted."""

import subprocess
from pathlib import Path

import pytest

from tools import secret_scan

PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----"  # in two parts, so that this file holds none
AWS_KEY = "AKIA" + "Q3EGRT7XVNLKPWBZ"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one clean file and an empty baseline."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / secret_scan.BASELINE).write_text("[]")
    (tmp_path / "clean.py").write_text("number = 1\n")
    track()
    return tmp_path


def track() -> None:
    subprocess.run(["git", "add", "-A"], check=True)


@pytest.mark.parametrize(
    ("line", "kind"), [(PRIVATE_KEY, "Private Key"), (f'key = "{AWS_KEY}"', "AWS Access Key")]
)
def test_a_planted_key_fails_the_scan_and_its_place_is_named(
    repository: Path, capsys: pytest.CaptureFixture[str], line: str, kind: str
) -> None:
    assert secret_scan.main([]) == 0
    (repository / "planted.py").write_text(f"# a module\n{line}\n")
    assert secret_scan.main([]) == 0  # not tracked yet
    track()
    assert secret_scan.main([]) == 1
    said = capsys.readouterr().out
    assert f"planted.py:2: {kind}" in said
    assert AWS_KEY not in said


def test_what_was_accepted_may_move_but_a_second_one_is_new(repository: Path) -> None:
    file = repository / "planted.py"
    file.write_text(f'key = "{AWS_KEY}"\n')
    track()
    assert secret_scan.main(["--accept"]) == 0
    file.write_text(f'\n\nkey = "{AWS_KEY}"\n')
    assert secret_scan.main([]) == 0
    file.write_text(f'key = "{AWS_KEY}"\n{PRIVATE_KEY}\n')
    assert secret_scan.main([]) == 1


def test_without_git_it_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(subprocess.CalledProcessError):
        secret_scan.main([])
