"""The harness itself: what it says that a server wrote is what the server was asked for."""

import time

import pytest

from tests.servers.site import CONNECTIONS, Load, Truth, not_installed, site
from tests.waiting import wait_until

pytestmark = pytest.mark.integration
LOGS = {"nginx": ["combined", "json"], "apache": ["combined", "vhost_combined"], "caddy": ["caddy"]}


@pytest.mark.parametrize(
    ("server", "rotation"),
    [
        pytest.param("nginx", "dateext", marks=pytest.mark.slow),
        pytest.param("nginx", "compress", marks=pytest.mark.slow),
        ("apache", "delaycompress"),
        pytest.param("caddy", "own", marks=pytest.mark.slow),
    ],
)
def test_what_a_server_wrote_is_known_whatever_was_rotated(tmp_path, server, rotation):
    if lacking := not_installed(server):
        pytest.skip(lacking)
    rolling = "roll_size 1MiB\n roll_keep 2" if rotation == "own" else ""
    with (
        site(server, tmp_path / "logs", LOGS[server], "create" if rolling else rotation, rolling) as running,
        Truth(running.logs) as truth,
    ):
        load = Load.begin(running.server, "a", 2000, 3)
        began = time.monotonic()
        while not rolling and running.rotations < 3:
            wait_until(lambda: time.monotonic() - began > running.rotations * 0.8 + 0.3, 10)
            running.rotate()
        answered = load.end()
        assert len(truth.files[running.logs[0]]) >= 3
        for log in running.logs:
            lines = list(truth.lines(log))
            assert len(set(lines)) == len(lines)
            # Those that were under way at its end were written, and not counted.
            assert answered <= len(lines) <= answered + 2 * CONNECTIONS
