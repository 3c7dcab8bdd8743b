"""The one rule that tells a repeated record from a new line; agent 2, windows job and accounting keep to it.

A record's key ``<replay>:<number>`` is its identity. Within a partition the numbers of a replay rise, since
one batch of a replay is in flight at a time and agent 1 gives none up. So a record whose number is not above
the highest seen of its replay in its partition is a *repeat*. Every other key is *foreign*: the line counts,
but has no identity. A number more than `MAX_JUMP` above the highest is foreign too: no replay can have sent
it, and taken for a mark it would make real lines repeats.

The partition of a line follows from its number and its replay's record, so that a line that is sent again
meets its mark, whatever became of the topic or the partitioner meanwhile. Lines that a repair sends have
an identity of their own, and count as their replay's.

``flume/src/main/java/logpipe/Identity.java`` is the same rule; ``tests/unit/data/identities.tsv`` holds both
to one table.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

REPLAY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"
NUMBER_PATTERN = r"[1-9][0-9]{0,17}"
KEY_PATTERN = rf"^({REPLAY_PATTERN}):({NUMBER_PATTERN})$"
CHUNK_LINES = 1000  # lines of a replay that follow each other in one partition
REPAIR_PREFIX = "repair-"  # begins no replay id but a repair's: repair-<k>+<replay>, k from 1
MAX_LINES = 10**15  # that a replay may be limited to: a larger number is no integer to Airflow or JSON
MAX_JUMP = 10_000_000  # lines; a broker that loses what it had not yet written loses less

_KEY = re.compile(KEY_PATTERN[:-1].encode() + rb"\Z")
_REPAIR = re.compile(rf"{REPAIR_PREFIX}[1-9][0-9]*\+({REPLAY_PATTERN})")


class Verdict(Enum):
    """What a record is: all but repeats count as lines."""

    NEW = "new"
    REPEAT = "repeat"
    ANONYMOUS = "anonymous"  # it has no key
    FOREIGN = "foreign"  # its key is no identity


def parse_key(key: bytes) -> tuple[str, int] | None:
    """Replay and number of a key; None when it is no identity."""
    found = _KEY.match(key)
    return (found[1].decode("ascii"), int(found[2])) if found else None


@dataclass
class Identities:
    """The highest number seen of each replay in each partition.

    Attributes:
        marks: by partition and replay.
    """

    marks: dict[tuple[int, str], int] = field(default_factory=dict)

    def judge(self, partition: int, key: bytes | None) -> Verdict:
        """Say what the next record of a partition is, and remember it. Call in the order of offsets."""
        if key is None:
            return Verdict.ANONYMOUS
        identity = parse_key(key)
        if identity is None:
            return Verdict.FOREIGN
        replay, number = identity
        mark = self.marks.get((partition, replay), 0)
        if number <= mark:
            return Verdict.REPEAT
        if number - mark > MAX_JUMP:
            return Verdict.FOREIGN
        self.marks[partition, replay] = number
        return Verdict.NEW


def partition_of(number: int, partitions: int) -> int:
    """The partition that a line of a replay belongs to: whole chunks of `CHUNK_LINES` in turn.

    Args:
        number: of the line, from 1.
        partitions: as the replay's record says.
    """
    return (number - 1) // CHUNK_LINES % partitions


def credited_to(replay_id: str) -> str:
    """The replay whose lines these are: its own, or for ``repair-<k>+<replay>`` those of ``<replay>``."""
    found = _REPAIR.fullmatch(replay_id)
    return found[1] if found else replay_id
