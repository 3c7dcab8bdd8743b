"""What is left of sealed records: their sums. So neither records nor the time to read them grow for ever."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from logpipe.digest import Digest
from logpipe.identity import credited_to
from logpipe.replayer.record import ReplayRecord

REMEMBERED = 10_000  # ids of folded replays
KEEP_DAYS = 30  # a sealed record is kept so long after its replay's end
KEEP_GENERATION_DAYS = 1  # and that of a followed log's file: there may be thousands


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of all records that were folded.

    Attributes:
        digest: the lines that have an identity: those of profile durable, and those of profile memory that
            repairs sent again by profile durable.
        anonymous: the other lines of profile memory.
        replays: their number, without repairs.
        unknown: parts of followed logs that nobody could read any more.
        given_up, given_up_lines: how many of them were given up half sent, and the lines that they had sent.
        folded: ids of the last fold, and of those before it as far as `REMEMBERED` goes, oldest first.
            Records of theirs that are still there count no more: whoever folded them ended before it had
            deleted them. And none of them is begun again: its marks are forgotten, so lines would double.
        ended_s: of folded replays whose lines are read by an entry of the registry of formats, when they and
            their repairs ended, Unix time.
    """

    digest: Digest = field(default_factory=Digest)
    replays: int = 0
    folded: tuple[str, ...] = ()
    given_up: int = 0
    given_up_lines: int = 0
    anonymous: Digest = field(default_factory=Digest)
    unknown: int = 0
    ended_s: dict[str, float] = field(default_factory=dict)

    def with_folded(self, records: Iterable[ReplayRecord], entries: Collection[str] = ()) -> "Sums":
        """These sums and those of some records; ``entries`` are the prefixes in the registry of formats."""
        records = list(records)
        ended_s = dict(self.ended_s)
        for record in records:
            replay_id = credited_to(record.spec.replay_id)
            at_s = datetime.fromisoformat(record.finished_at).timestamp() if record.finished_at else 0
            ended_s[replay_id] = max(at_s, ended_s.get(replay_id, 0))
        own = [record for record in records if not record.is_repair]
        given_up = [record for record in own if record.state != "done"]
        folded = [record.spec.replay_id for record in records]
        of_memory = {record.spec.replay_id for record in own if record.spec.profile != "durable"}
        digest, anonymous = self.digest, self.anonymous
        for record in records:
            if not record.is_repair and record.spec.replay_id not in of_memory:
                digest += record.digest
            elif not record.is_repair:
                anonymous += record.digest
            elif record.spec.profile == "durable" and credited_to(record.spec.replay_id) in of_memory:
                digest += record.digest
                anonymous -= record.digest
        return Sums(
            digest,
            self.replays + len(own),
            (*self.folded, *folded)[-max(REMEMBERED, len(folded)) :],
            self.given_up + len(given_up),
            self.given_up_lines + sum(record.digest.lines for record in given_up),
            anonymous,
            self.unknown + sum(bool(one.generation and one.generation.unknown) for one in own),
            {replay_id: at_s for replay_id, at_s in ended_s.items() if replay_id in entries},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.digest.to_json(),
            "replays": self.replays,
            "folded": list(self.folded),
            "given_up": self.given_up,
            "given_up_lines": self.given_up_lines,
            "anonymous": self.anonymous.to_json(),
            "unknown": self.unknown,
            "ended_s": self.ended_s,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Sums":
        """Rebuild what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: the values are not what `to_json` gives.
        """
        return cls(
            Digest.from_json(values),
            values["replays"],
            tuple(values["folded"]),
            values.get("given_up", 0),
            values.get("given_up_lines", 0),
            Digest.from_json(values["anonymous"]) if "anonymous" in values else Digest(),
            values.get("unknown", 0),
            values.get("ended_s", {}),
        )


def to_fold(records: Iterable[ReplayRecord], now: datetime | None = None) -> list[ReplayRecord]:
    """The records of which sums are enough: sealed, and ended more than `KEEP_DAYS` ago.

    A replay and its repairs go together; repairs are not sealed by themselves.
    """
    groups: dict[str, list[ReplayRecord]] = defaultdict(list)
    for record in records:
        groups[credited_to(record.spec.replay_id)].append(record)
    return [
        record
        for group in groups.values()
        if all(is_old(one, now) and (one.is_repair or one.sealed_at is not None) for one in group)
        for record in group
    ]


def is_old(record: ReplayRecord, now: datetime | None = None) -> bool:
    """Whether its replay ended more than `KEEP_DAYS` ago, or its file `KEEP_GENERATION_DAYS`."""
    days = KEEP_GENERATION_DAYS if record.generation else KEEP_DAYS
    before = (now or datetime.now(UTC)) - timedelta(days=days)
    return record.finished_at is not None and datetime.fromisoformat(record.finished_at) < before
