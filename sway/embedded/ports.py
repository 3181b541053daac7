"""Free TCP ports on loopback."""

import random
import socket

from sway.embedded.errors import KafkaStartError

HOST = "127.0.0.1"

# Below the ephemeral port range of Linux and macOS, so that the port of a restarting broker is likely to be free.
FIRST, LAST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Return whether a server can listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As in Java, a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """Return a free port that is not in `taken`.

    Another process may take it before it is used, so the caller must be able to retry.
    Raises KafkaStartError if none was found.
    """
    for _ in range(_TRIES):
        port = random.randint(FIRST, LAST)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise KafkaStartError(f"no free port on {HOST} between {FIRST} and {LAST} in {_TRIES} tries")
