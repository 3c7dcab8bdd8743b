"""Free ports for a copy of the pipeline, so that test runs can go side by side."""

import random
import socket

from logpipe.settings import Settings

# Below those that the kernel gives to clients: a port that is free now is not some connection's by the time
# that the service listens at it.
FIRST, END = 10_000, 32_000
_chance = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens at now, and that this process has not been given before."""
    for _ in range(1000):
        port = _chance.randrange(FIRST, END)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError(f"no free port found between {FIRST} and {END}")


def port_settings() -> dict[str, int]:
    """A free port for every port setting, by its name."""
    return {name: free_port() for name in Settings.model_fields if name.endswith("_port")}


def free_ports() -> dict[str, str]:
    """The same, as environment variables."""
    return {f"LOGPIPE_{name.upper()}": str(port) for name, port in port_settings().items()}
