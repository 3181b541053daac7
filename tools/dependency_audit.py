"""Audit of the locked dependencies for known vulnerabilities: `python -m tools.dependency_audit`, in `make audit`.

Runs pip-audit with the OSV database. The source is first checked with a known vulnerability, because a mirror or proxy
that reports "not found" for everything would hide all findings. Without a usable source, nothing is audited, a message
says so, and the exit status is 0, so that a machine without a network can run CI. With a source, a finding or a
failure of the source sets the exit status to 1.
"""

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request

OSV_URL = "https://api.osv.dev/v1/query"
# Has CVE-2014-1402, among others.
_KNOWN = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}


def why_no_source(url: str, timeout_s: float) -> str | None:
    """Return why the URL is not a usable source of advisories, or None if it is."""
    request = urllib.request.Request(url, json.dumps(_KNOWN).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - the caller's choice
            found = json.load(response)
    except urllib.error.HTTPError as exc:
        with exc:
            return f"HTTP status {exc.code}"
    except OSError as exc:
        return str(getattr(exc, "reason", exc))
    except ValueError:
        return "the response is not JSON"
    if not isinstance(found, dict) or not found.get("vulns"):
        return "it does not report a known vulnerability"
    return None


def main(arguments: list[str]) -> int:
    """Audit the lock files, or print why they are not audited; return the exit status."""
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
