"""Free ports for a copy of the pipeline, so that two test runs can go side by side."""

import socket

from logpipe.settings import Settings


def free_ports() -> dict[str, str]:
    """A free port for every port setting, as environment variables."""
    names = [name for name in Settings.model_fields if name.endswith("_port")]
    sockets = [socket.socket() for _ in names]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {
            f"LOGPIPE_{name.upper()}": str(each.getsockname()[1])
            for name, each in zip(names, sockets, strict=True)
        }
    finally:
        for each in sockets:
            each.close()
