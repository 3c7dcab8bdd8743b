"""Servers under load whose logs are followed, while they are rotated and those who follow are killed.

What servers wrote is held against HDFS, the windows and the sums of `make verify` by the checker of the
faults. Rotations and kills are drawn from a seed; they come at their times whatever the others do.
"""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from logpipe.accounting.verify import verify
from logpipe.clients.errors import ClientError
from tests.data_plane import HEAL_TIMEOUT_S, DataPlane
from tests.faults import faults
from tests.faults.checker import UNREACHABLE, Expected, await_healed, check, check_bytes, check_sums
from tests.faults.faults import Step
from tests.servers.site import Load, Site, Truth, site
from tests.waiting import wait_until

# What is followed of each server, by the name of its log, with the format that it is registered as.
LOGS = {
    "nginx": {"combined": "nginx", "json": "nginx_json"},
    "apache": {"combined": "combined", "vhost_combined": "vhost_combined"},
    "caddy": {"caddy": "caddy"},
}
FOLLOWERS = ("replayer", "flume-agent1", "flume-agent2")
CADDY_ROLLS = "roll_size 1MiB\n roll_keep 1000"
LINES_PER_REQUEST = {server: len(logs) for server, logs in LOGS.items()}


@dataclass(frozen=True)
class Campaign:
    """What is done to whom.

    Attributes:
        rotations: how each server's logs are rotated, see `ROTATIONS`; ``own`` leaves it to the server.
        kills: of one follower each; and of all at once, as by a power cut.
    """

    seed: int
    rotations: dict[str, str]
    rotated: int
    kills: int
    power_cuts: int
    duration_s: float
    requests_per_s: int = 500

    def __str__(self) -> str:
        return (
            f"servers, seed {self.seed}: {self.rotations}, {self.rotated} rotations, {self.kills} kills, "
            f"{self.power_cuts} power cuts in {self.duration_s:.0f} s"
        )

    def hits(self) -> list[Step]:
        """The kills."""
        chance = random.Random(self.seed)
        times = self._times(chance, self.kills + self.power_cuts)
        cuts = set(chance.sample(range(len(times)), self.power_cuts))
        return [
            Step(at_s, service, "SIGKILL", 0)
            for number, at_s in enumerate(times)
            for service in (FOLLOWERS if number in cuts else [chance.choice(FOLLOWERS)])
        ]

    def turns(self) -> list[tuple[float, str]]:
        """When logrotate runs, and over whose logs."""
        chance = random.Random(self.seed + 1)
        rotated = [server for server, rotation in self.rotations.items() if rotation != "own"]
        turns: dict[str, list[float]] = {server: [] for server in rotated}
        for at_s in self._times(chance, self.rotated):
            before = turns[chance.choice(rotated)]
            # Old files are named by the second.
            before.append(max(at_s, before[-1] + 1.5) if before else at_s)
        return sorted((at_s, server) for server, times in turns.items() for at_s in times)

    def _times(self, chance: random.Random, count: int) -> list[float]:
        return sorted(chance.uniform(0.05, 0.95) * self.duration_s for _ in range(count))


class Servers:
    """The servers of a campaign, and what they write."""

    def __init__(self, sites: dict[str, Site], truth: Truth, plane: DataPlane) -> None:
        self.sites = sites
        self.truth = truth
        self._plane = plane
        self.follow_ids: list[str] = []

    def follow(self) -> None:
        """Have all their logs followed."""
        for server, running in self.sites.items():
            for log, log_format in zip(running.logs, LOGS[server].values(), strict=True):
                self.follow_ids.append(self._plane.follow(log, log_format)[0]["follow_id"])

    def rotate(self, turns: list[tuple[float, str]]) -> None:
        """Run logrotate at these times, in seconds from now."""
        began, quiet = time.monotonic(), threading.Event()
        for at_s, server in turns:
            quiet.wait(max(0.0, began + at_s - time.monotonic()))
            self.sites[server].rotate()

    def unfollow(self) -> None:
        """Follow their logs no longer."""
        for follow_id in self.follow_ids:
            wait_until(lambda one=follow_id: self._is_unfollowed(one), 60, f"{follow_id} to be unfollowed")

    def _is_unfollowed(self, follow_id: str) -> bool:
        try:
            return bool(self._plane.replayer.unfollow(follow_id)["state"] == "stopped")
        except ClientError:
            return False


@contextmanager
def servers(plane: DataPlane, folder: Path, rotations: dict[str, str]) -> Iterator[Servers]:
    """Start servers, and keep what they write.

    Args:
        rotations: as in `Campaign`.
    """
    with ExitStack() as ends:
        sites = {}
        for server, rotation in rotations.items():
            rolling = CADDY_ROLLS if rotation == "own" else ""
            kind = "create" if rolling else rotation
            sites[server] = ends.enter_context(site(server, folder, list(LOGS[server]), kind, rolling))
        logs = [log for running in sites.values() for log in running.logs]
        for log in logs:
            log.touch()
        yield Servers(sites, ends.enter_context(Truth(logs)), plane)


def await_sent(plane: DataPlane, lines: int) -> None:
    """Until so many lines were acknowledged, by the sums of the ledger."""

    def sent() -> bool:
        try:
            return verify(plane.settings).source >= lines
        except (*UNREACHABLE, ClientError):
            return False

    wait_until(sent, HEAL_TIMEOUT_S, f"{lines} lines to be sent", poll_s=1)


def run(
    plane: DataPlane, folder: Path, campaign: Campaign, written: Expected, *, audits: bool = True
) -> None:
    """Do it all, and have every line looked for; then unfollow the logs, and add up again.

    Args:
        written: all that was written on this data plane.
        audits: have the audit look too, which reads the logs and HDFS once more.
    """
    hits, turns = campaign.hits(), campaign.turns()
    print(campaign, *hits, *(f"{at_s:5.1f} s {server} rotated" for at_s, server in turns), sep="\n  ")
    with servers(plane, folder, campaign.rotations) as running:
        running.follow()
        loads = [
            Load.begin(one.server, f"s{campaign.seed}{name}", campaign.requests_per_s, campaign.duration_s)
            for name, one in running.sites.items()
        ]
        with ThreadPoolExecutor(2) as pool:
            for done in (pool.submit(faults.run, plane, hits), pool.submit(running.rotate, turns)):
                done.result()
        answered = dict(zip(running.sites, (load.end() for load in loads), strict=True))
        written.lines = running.truth.total()
        asked = sum(count * LINES_PER_REQUEST[server] for server, count in answered.items())
        assert written.lines.total() >= asked, (written.lines.total(), answered)
        await_sent(plane, written.total().lines)
        # Those that another test has followed on this plane are told of still.
        own = [record for record in plane.replayer.follows() if record["state"] != "stopped"]
        assert own
        assert all(not record["unknown"] for record in own)
        if audits:
            check(plane, written, str(campaign))
        else:
            await_healed(plane, [])
            check_sums(plane, written)
            check_bytes(plane, written)
            written.settle()
        running.unfollow()
    plane.await_drained()
    check_sums(plane, written)
