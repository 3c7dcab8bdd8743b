"""Ranges of lines: read again from the topic as agent 2 read them, and digested as a file holds them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from logpipe.accounting.topic import describe, records
from logpipe.clients.hdfs import BLOCK_BYTES
from logpipe.clients.kafka import RangeGoneError, Record
from logpipe.digest import Digest, DigestBuilder
from logpipe.identity import Identities, Verdict, parse_key
from logpipe.settings import Settings


class TextDigest:
    """Digests a file's blocks: its lines as a reader counts them."""

    def __init__(self) -> None:
        self.digest = Digest()
        self.length_bytes = 0
        self._rest = b""

    def add(self, block: bytes) -> None:
        """Take the next block."""
        self.length_bytes += len(block)
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        self.digest += Digest.of(lines)

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks, digested as they pass."""
        for block in blocks:
            self.add(block)
            yield block

    def join(self, other: "TextDigest") -> None:
        """Add what another one, whose last line has its end, digested."""
        self.digest += other.digest
        self.length_bytes += other.length_bytes


@dataclass
class RangeSums:
    """What a range holds.

    Attributes:
        digest, anonymous, replays, repeats, foreign: as in `logpipe.contracts.chain.Link`.
        first_ms, last_ms: Kafka's times of the first and the last record.
        marks: highest number of each replay, and when that came.
    """

    digest: DigestBuilder = field(default_factory=DigestBuilder)
    anonymous: DigestBuilder = field(default_factory=DigestBuilder)
    replays: dict[str, DigestBuilder] = field(default_factory=dict)
    repeats: int = 0
    foreign: int = 0
    first_ms: int = 0
    last_ms: int = 0
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, record: Record, verdict: Verdict) -> None:
        """Count a record."""
        self.first_ms = self.first_ms or record.timestamp_ms
        self.last_ms = record.timestamp_ms
        if verdict is Verdict.REPEAT:
            self.repeats += 1
            return
        self.digest.add(record.value)
        identity = parse_key(record.key) if record.key and verdict is Verdict.NEW else None
        if identity is None:
            self.anonymous.add(record.value)
            self.foreign += verdict is Verdict.FOREIGN
        else:
            replay, number = identity
            self.replays.setdefault(replay, DigestBuilder()).add(record.value)
            self.marks[replay] = (number, record.timestamp_ms)

    def by_replay(self) -> dict[str, Digest]:
        """Of each replay its lines."""
        return {replay: builder.build() for replay, builder in self.replays.items()}


class PartitionReader:
    """Reads a partition's ranges again, in the order of offsets, and leaves out repeats as agent 2 did.

    Args:
        settings: of the pipeline.
        of_topic: id of the topic in which the offsets count.
        partition: which.
        at: the offset at which ``marks`` were the highest number of each replay.
        until: the offset after the last one that will be asked for.
        marks: numbers by replay.
        latest_ms: Kafka's time of the record before; a chain's time never steps back.

    Raises:
        RangeGoneError: the topic is another one now; or, when reading, retention took records.
    """

    def __init__(
        self,
        settings: Settings,
        of_topic: str,
        partition: int,
        at: int,
        until: int,
        marks: dict[str, int],
        latest_ms: int = 0,
    ) -> None:
        now = describe(settings)
        if of_topic != now.topic_id:
            raise RangeGoneError(
                f"Topic {settings.topic} is another one now (id {now.topic_id}, expected {of_topic}): what "
                "it held cannot be read again"
            )
        self._settings = settings
        self._partition = partition
        # What lies before and is gone only told of repeats; the digest says whether any was one.
        self._at = max(at, now.offsets.get(partition, (0, 0))[0])
        self._until = until
        self._latest_ms = latest_ms
        self._identities = Identities({(partition, replay): number for replay, number in marks.items()})
        self._records: Iterator[Record] | None = None
        self.sums = RangeSums()

    def records(self, first: int, next_: int, between_ms: tuple[int, int] | None = None) -> Iterator[Record]:
        """The records of ``[first, next_)``, each identity once; afterwards ``sums`` are theirs.

        Args:
            first: not before what was read already.
            next_: the offset after the last one.
            between_ms: only those of these times, Kafka's, ``[from, to)``.
        """
        self.sums = RangeSums()
        if self._records is None:
            self._at = min(first, self._at)
            self._records = records(self._settings, {self._partition: (self._at, self._until)})
        while self._at < next_ and (record := next(self._records, None)) is not None:
            verdict = self._identities.judge(self._partition, record.key)
            self._latest_ms = max(self._latest_ms, record.timestamp_ms)
            self._at = record.offset + 1
            if record.offset < first:
                continue
            if between_ms and not between_ms[0] <= self._latest_ms < between_ms[1]:
                continue
            self.sums.add(record, verdict)
            if verdict is not Verdict.REPEAT:
                yield record

    def blocks(self, first: int, next_: int, between_ms: tuple[int, int] | None = None) -> Iterator[bytes]:
        """The lines of `records` as a file's blocks, each line with its end."""
        held: list[bytes] = []
        size = 0
        for record in self.records(first, next_, between_ms):
            held.append(record.value)
            size += len(record.value) + 1
            if size >= BLOCK_BYTES:
                yield b"\n".join(held) + b"\n"
                held, size = [], 0
        if held:
            yield b"\n".join(held) + b"\n"
