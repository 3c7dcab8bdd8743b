"""Checker: waits until all has healed by itself, asks verify and audit, and looks at every byte itself."""

import time
from collections import Counter
from dataclasses import dataclass, field

from logpipe.accounting.audit import audit
from logpipe.accounting.chain import ChainReader
from logpipe.accounting.judge import Accounting
from logpipe.accounting.topic import records
from logpipe.accounting.verify import verify
from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.clients.kafka import TopicError
from logpipe.contracts import chain
from logpipe.digest import Digest, DigestBuilder
from logpipe.windows.commit import WindowsError
from logpipe.windows.reader import of_settings
from tests.data_plane import HEAL_TIMEOUT_S, DataPlane, Row
from tests.waiting import wait_until

SHOWN = 5
UNREACHABLE = (TopicError, HdfsError, WindowsError, OSError)


@dataclass
class Expected:
    """What must be there.

    Attributes:
        replays: since the last check; those that have to be done.
        lines: that came since the last check; no two alike.
        settled: of all lines before.
        doubled: lines that somebody has put into the topic in a replay's name, and that stay there.
    """

    replays: list[str] = field(default_factory=list)
    lines: Counter[bytes] = field(default_factory=Counter)
    settled: Digest = field(default_factory=Digest)
    doubled: int = 0

    def total(self) -> Digest:
        """Of all lines that must be there."""
        return self.settled + Digest.of(list(self.lines.elements()))

    def settle(self) -> None:
        """All of it was found."""
        self.settled = self.total()
        self.replays, self.lines = [], Counter()


def await_healed(plane: DataPlane, replays: list[str]) -> None:
    """Until replays are done, services well, and everything has arrived: within `HEAL_TIMEOUT_S`."""
    deadline = time.monotonic() + HEAL_TIMEOUT_S
    for replay_id in replays:
        plane.await_done(replay_id, max(1.0, deadline - time.monotonic()))
    wait_until(plane.is_well, max(1.0, deadline - time.monotonic()), poll_s=1)
    plane.await_drained(max(1.0, deadline - time.monotonic()))
    wait_until(lambda: not in_use(plane), max(1.0, deadline - time.monotonic()))


def check(plane: DataPlane, load: Expected, case: str) -> Row:
    """Wait, then hold what is there against what was sent; the row is for the table."""
    began = time.monotonic()
    await_healed(plane, load.replays)
    healed_s = round(time.monotonic() - began, 1)
    accounting = check_sums(plane, load)
    audited = audit(plane.settings)
    assert (audited.lost, audited.doubled, audited.damaged) == (0, load.doubled, 0), audited
    assert audited.lines == load.total().lines, audited
    assert not any("are not counted anew" in text for text in audited.details), audited
    check_bytes(plane, load)
    load.settle()
    return Row(case, healed_s, accounting, audited)


def check_sums(plane: DataPlane, load: Expected) -> Accounting:
    """What `make verify` adds up is what was sent."""
    accounting = verify(plane.settings)
    lines = load.total().lines
    assert (accounting.lost, accounting.doubled, accounting.in_flight) == (0, load.doubled, 0), accounting
    assert (accounting.problems, accounting.unfinished) == ((), ()), accounting
    assert (accounting.hdfs, accounting.windows) == (lines, lines), accounting
    return accounting


def check_bytes(plane: DataPlane, load: Expected) -> None:
    """Every line on HDFS is one that was sent, as often; and so are those in the windows, by their digest."""
    found: Counter[bytes] = Counter()
    older = DigestBuilder()
    for line in plane.lines():
        if line in load.lines:
            found[line] += 1
        else:
            older.add(line)
    lacking, surplus = load.lines - found, found - load.lines
    assert not lacking, f"HDFS lacks {lacking.total()} lines: {list(lacking)[:SHOWN]}"
    assert not surplus, f"HDFS has {surplus.total()} lines too many: {list(surplus)[:SHOWN]}"
    assert older.build() == load.settled, "lines that were there before are others now"
    windows, expected = of_settings(plane.settings).totals(), load.total()
    assert windows.digest == expected, (windows, expected)


def in_use(plane: DataPlane) -> list[str]:
    """What writers have open, or have left behind when they died."""
    hdfs, root = Hdfs.of(plane.settings), plane.settings.hdfs_logs_dir
    try:
        names = []
        for partition in ChainReader(hdfs, root).chains():
            names += [entry.name for entry in hdfs.list(chain.Layout(root).chain(partition))]
        for day in plane.days():
            names += [entry.name for entry in hdfs.list(f"{root}/{day}")]
    finally:
        hdfs.close()
    return [name for name in names if chain.OPEN_NAME.fullmatch(name) or chain.IN_USE_NAME.fullmatch(name)]


def repeats(plane: DataPlane, replay_id: str) -> int:
    """Records of a replay in the topic that stand there more than once."""
    prefix = f"{replay_id}:".encode()
    keys = Counter(
        record.key for record in records(plane.settings) if record.key and record.key.startswith(prefix)
    )
    return keys.total() - len(keys)
