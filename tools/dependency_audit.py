"""Asks for known vulnerabilities of what is locked: `python -m tools.dependency_audit`, part of `make audit`.

pip-audit does the work, with OSV's database. It is only asked once the source has named a vulnerability that is known
to be there: a mirror or a proxy that answers "not found" to everything would pass for good news. Without a source
nothing is audited, which is said, and the exit status is 0, so that a machine without a network can run CI. With one,
a finding, or a source that breaks off, is 1.
"""

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request

OSV_URL = "https://api.osv.dev/v1/query"
_KNOWN = {
    "package": {"name": "jinja2", "ecosystem": "PyPI"},
    "version": "2.4.1",
}  # CVE-2014-1402, among others


def why_no_source(url: str, timeout_s: float) -> str | None:
    """Why this is no source of advisories, or None if it is one."""
    request = urllib.request.Request(url, json.dumps(_KNOWN).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - the caller's own choice
            found = json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return f"it answers {exc.code}"
    except OSError as exc:
        return str(getattr(exc, "reason", exc))
    except ValueError:
        return "its answer is not JSON"
    if not isinstance(found, dict) or not found.get("vulns"):
        return "it does not know a vulnerability that is known"
    return None


def main(arguments: list[str]) -> int:
    """Audit, or say why not; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("locks", nargs="+", help="lock files with hashes")
    parser.add_argument("--osv-url", default=OSV_URL)
    parser.add_argument("--timeout-s", type=float, default=10.0)
    given = parser.parse_args(arguments)
    reason = why_no_source(given.osv_url, given.timeout_s)
    if reason is not None:
        print(f"not audited: no advisory source is reachable ({given.osv_url}: {reason})")
        return 0
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--vulnerability-service",
        "osv",
        "--osv-url",
        given.osv_url,
    ]
    command += ["--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off"]
    command += [part for lock in given.locks for part in ("--requirement", lock)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
