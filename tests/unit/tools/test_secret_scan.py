"""The secret scan finds planted keys in tracked files and passes accepted findings."""

import subprocess
from pathlib import Path

import pytest

from tools import secret_scan

# In two parts, so that this file contains no key.
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----"
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
def test_a_planted_key_fails_the_scan_with_its_place(
    repository: Path, capsys: pytest.CaptureFixture[str], line: str, kind: str
) -> None:
    assert secret_scan.main([]) == 0
    (repository / "planted.py").write_text(f"# a module\n{line}\n")
    # The file is not tracked yet.
    assert secret_scan.main([]) == 0
    track()
    assert secret_scan.main([]) == 1
    output = capsys.readouterr().out
    assert f"planted.py:2: {kind}" in output
    assert AWS_KEY not in output


def test_an_accepted_finding_may_move_but_another_fails(repository: Path) -> None:
    file = repository / "planted.py"
    file.write_text(f'key = "{AWS_KEY}"\n')
    track()
    assert secret_scan.main(["--accept"]) == 0
    file.write_text(f'\n\nkey = "{AWS_KEY}"\n')
    assert secret_scan.main([]) == 0
    file.write_text(f'key = "{AWS_KEY}"\n{PRIVATE_KEY}\n')
    assert secret_scan.main([]) == 1


def test_the_scan_fails_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(subprocess.CalledProcessError):
        secret_scan.main([])
