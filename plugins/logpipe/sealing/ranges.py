"""Ranges of lines: read again from the topic as agent 2 read them, and digested as a file holds them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from logpipe.accounting.topic import Record, describe, end_offsets
from logpipe.clients.hdfs import BLOCK_BYTES
from logpipe.digest import Digest, DigestBuilder
from logpipe.identity import Identities, Verdict, parse_key
from logpipe.sealing.topic import RangeGoneError, read_range
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

    def end(self) -> None:
        """Give the last line its end where it has none."""
        if self._rest:
            self.add(b"\n")

    def join(self, other: "TextDigest") -> None:
        """Add what another one, whose last line has its end, digested."""
        self.digest += other.digest
        self.length_bytes += other.length_bytes


def blocks_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines as a file's blocks, each line with its end."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line) + 1
        if size >= BLOCK_BYTES:
            yield b"\n".join(held) + b"\n"
            held, size = [], 0
    if held:
        yield b"\n".join(held) + b"\n"


@dataclass
class Sums:
    """What a range holds."""

    digest: DigestBuilder = field(default_factory=DigestBuilder)
    anonymous: DigestBuilder = field(default_factory=DigestBuilder)
    replays: dict[str, DigestBuilder] = field(default_factory=dict)
    repeats: int = 0
    foreign: int = 0

    def add(self, record: Record, verdict: Verdict) -> None:
        """Count a record."""
        if verdict is Verdict.REPEAT:
            self.repeats += 1
            return
        self.digest.add(record.value)
        identity = parse_key(record.key) if record.key and verdict is Verdict.NEW else None
        if identity is None:
            self.anonymous.add(record.value)
            self.foreign += verdict is Verdict.FOREIGN
        else:
            self.replays.setdefault(identity[0], DigestBuilder()).add(record.value)


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
        now = describe(settings).topic_id
        if of_topic != now:
            raise RangeGoneError(
                f"Topic {settings.topic} is another one now (id {now}, expected {of_topic}): what it held "
                "cannot be read again"
            )
        self._settings = settings
        self._partition = partition
        self._at = at
        self._until = until
        self._latest_ms = latest_ms
        self._identities = Identities({(partition, replay): number for replay, number in marks.items()})
        self._records: Iterator[Record] | None = None
        self.sums = Sums()

    def lines(self, first: int, next_: int, between_ms: tuple[int, int] | None = None) -> Iterator[bytes]:
        """The lines of ``[first, next_)``, each identity once; afterwards ``sums`` are theirs.

        Args:
            first: not before what was read already.
            next_: the offset after the last one.
            between_ms: only those of these times, Kafka's, ``[from, to)``.
        """
        self.sums = Sums()
        if self._records is None:
            low, _ = end_offsets(self._settings).get(self._partition, (0, 0))
            # What lies before and is gone only told of repeats; the digest says whether any was one.
            self._at = min(first, max(self._at, low))
            self._records = read_range(self._settings, self._partition, self._at, self._until)
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
                yield record.value
