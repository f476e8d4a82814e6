"""Ports for programs of the Python tests, as tests/e2e/harness/ports.mjs has them for the others."""

import random
import socket

# The UDP ports that say which ports are given, to the tests of other processes too.
_signs = []


def free_port() -> int:
    """One that is free at all addresses, and that nobody else is given while its program is away: not one of those for who asks for any."""
    while True:
        port = random.randrange(12_000, 32_000)
        sign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sign.bind(("127.0.0.1", port))
            with socket.socket() as listener:
                listener.bind(("0.0.0.0", port))
        except OSError:
            sign.close()
            continue
        _signs.append(sign)
        return port
