"""The check of the web server's port."""

import socket

from sway.doctor.findings import Finding, fail, ok, warn

CHECK = "web port"


def check_web_port(host: str, port: int) -> Finding:
    """Check that a server can listen on an address."""
    if port == 0:
        return fail(CHECK, "Faust's web server does not support port 0", "set SWAY_WEB__PORT to 1 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as exc:
        return fail(CHECK, f"{host} is not an address of this machine: {exc.strerror}", "set SWAY_WEB__HOST")
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as exc:
            return warn(
                CHECK,
                f"cannot listen on {host}:{port}: {exc.strerror}",
                "expected if this worker is running; another worker needs another SWAY_WEB__PORT",
            )
    return ok(CHECK, f"{host}:{port} is free")
