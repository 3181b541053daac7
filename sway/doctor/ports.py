"""Whether the health pages' port is free."""

import socket

from sway.doctor.findings import Finding, fail, ok, warn

CHECK = "web port"


def check_web_port(host: str, port: int) -> Finding:
    """Say whether a server can listen there now."""
    if port == 0:
        return fail(CHECK, "Faust's web server takes no port 0", "set SWAY_WEB__PORT to 1 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as exc:
        return fail(CHECK, f"{host} is no address of this machine: {exc.strerror}", "set SWAY_WEB__HOST")
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as exc:
            return warn(
                CHECK,
                f"{host}:{port} cannot be taken: {exc.strerror}",
                "right if it is this worker's own; another worker needs another SWAY_WEB__PORT",
            )
    return ok(CHECK, f"{host}:{port} is free")
