"""Scan of the tracked files for secrets with `python -m tools.secret_scan`, part of `make audit`.

Prints the findings of detect-secrets that are not in .secrets.baseline; the exit status is then 1. Use --accept for
findings that are not secrets, such as checksums or test passwords. The baseline stores file, type and hash of a
finding, but no line number, so that code can move.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

BASELINE = ".secrets.baseline"
_HASHES_THROUGHOUT = re.compile(r"requirements.*\.lock|tests/golden/.*\.json")


def tracked() -> list[str]:
    """Return the relative paths of existing tracked files. Raises CalledProcessError if git fails."""
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)  # noqa: S607
    files = [path for path in listed.stdout.split("\0") if path and Path(path).is_file()]
    return [path for path in files if path != BASELINE and not _HASHES_THROUGHOUT.fullmatch(path)]


def scan(paths: Iterable[str]) -> list[PotentialSecret]:
    """Return possible secrets, sorted by path and line."""
    found = SecretsCollection()
    with default_settings():
        for path in paths:
            found.scan_file(path)
    return sorted((one for _, one in found), key=lambda one: (one.filename, one.line_number, one.type))


def main(arguments: list[str]) -> int:
    """Print new findings, or accept all findings with --accept; return the exit status."""
    paths = tracked()
    found = scan(paths)
    baseline = Path(BASELINE)
    if arguments == ["--accept"]:
        known = sorted({_entry(one) for one in found})
        baseline.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        return 0
    accepted = {tuple(entry) for entry in json.loads(baseline.read_text(encoding="utf-8"))}
    new = [one for one in found if _entry(one) not in accepted]
    for one in new:
        print(f"{one.filename}:{one.line_number}: {one.type}")
    if new:
        print(
            "Remove these and rotate the secrets, because git keeps the history. If none is a secret, run "
            "python -m tools.secret_scan --accept and commit .secrets.baseline."
        )
        return 1
    print(f"no secrets in {len(paths)} tracked files")
    return 0


def _entry(secret: PotentialSecret) -> tuple[str, str, str]:
    return secret.filename, secret.type, secret.secret_hash


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
