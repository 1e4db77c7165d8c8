"""Ports for servers under test."""

import random
import socket

_BELOW_EPHEMERAL = range(12_000, 32_000)  # ip_local_port_range begins at 32768: the kernel gives none of these away


def free_port() -> int:
    """Return a TCP port nobody uses, and that no connection gets by chance before the server under test binds it."""
    dice = random.SystemRandom()
    while True:
        port = dice.choice(_BELOW_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
