"""The chain of links: what agent 2 of profile ``durable`` leaves on HDFS, and how it is named.

Decision 7 (``docs/decisions/0007-a-chain-of-links.md``) says why; ``flume/src/main/java/logpipe/Link.java``
writes what is read here. ``L`` is the folder of the logs:

``L/<day>/apache_logs-<partition>-<epoch>-<first>.log``
    The lines of one range. In use it is ``_….<attempt>.tmp``.
``L/_chain/<partition>/<epoch>-<first>``
    A link: an empty file; what it says is its attribute `LINK_ATTRIBUTE`. While the range is written it is
    ``_open-<epoch>-<first>-<day>-<attempt>`` and says what was flushed.
``L/_chain/<partition>``, attribute `FLOOR_ATTRIBUTE`
    Name of the oldest link that is kept; no link may be made before it.
``L/_chain/<partition>/side-<attempt>-<hash>``
    What a link says, where it is more than an attribute holds: the attribute is then `{"side": name}`.
``L/_chain/_finish``
    Made anew by whoever wants the open ranges final at once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from logpipe.contracts.days import day_name
from logpipe.digest import Digest

FORMAT = 1
LINK_ATTRIBUTE = "user.logpipe.link"
FLOOR_ATTRIBUTE = "user.logpipe.floor"
ATTRIBUTE_BYTES = 12 << 10  # an attribute's name and value hold 16,384; a longer link stands in a side file
FILE_PREFIX = "apache_logs"

LINK_NAME = re.compile(r"(\d{6})-(\d{19})")
OPEN_NAME = re.compile(r"_open-(\d{6})-(\d{19})-(\d\d-\d\d-\d\d)-([0-9a-f]{8})")
FILE_NAME = re.compile(rf"{FILE_PREFIX}-(\d+)-(\d+)-(\d{{19}})\.log")
IN_USE_NAME = re.compile(rf"_{FILE_PREFIX}-(\d+)-(\d+)-(\d{{19}})\.([0-9a-f]{{8}})\.tmp")
SIDE_NAME = re.compile(r"side-([0-9a-f]{8})-.*")
MEMORY_NAME = re.compile(rf"{FILE_PREFIX}\.\d+\.log")  # a file of profile memory's agent 2
MEMORY_IN_USE_NAME = re.compile(rf"_{FILE_PREFIX}\.\d+\.log\.tmp")

Kind = Literal["lines", "memory", "expired", "ended"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what is, below the folder of the logs."""

    root: str

    @property
    def chains(self) -> str:
        """The folder that holds one of links for each partition."""
        return f"{self.root}/_chain"

    @property
    def finish(self) -> str:
        """The file that is made anew by whoever wants the open ranges final at once."""
        return f"{self.chains}/_finish"

    def chain(self, partition: int) -> str:
        """The folder of a partition's links."""
        return f"{self.chains}/{partition}"

    def day(self, day: str) -> str:
        """The folder in which readers find a day's lines."""
        return f"{self.root}/{day}"

    @property
    def sealed_days(self) -> str:
        """The folder of the sums of sealed days, which stay when the lines are forgotten."""
        return f"{self.root}/_sealed"

    def sealed(self, day: str) -> str:
        """The sums of a sealed day."""
        return f"{self.sealed_days}/{day}.json"

    def sealing(self, day: str) -> str:
        """The folder in which a day is sealed or repaired."""
        return f"{self.root}/_sealing/{day}"

    def aside(self, day: str) -> str:
        """The folder of files that no link knows, kept for a person."""
        return f"{self.root}/_aside/{day}"


def java_id(kafka_id: object) -> str:
    """A topic's id as Kafka's own tools and agent 2 write it: librdkafka's base64 has two other letters."""
    return str(kafka_id).replace("+", "-").replace("/", "_").rstrip("=")


def link_name(epoch: int, first: int) -> str:
    """The name of the link that begins there; names sort as links do."""
    return f"{epoch:06d}-{first:019d}"


def place_of(name: str) -> tuple[int, int]:
    """Epoch and first offset of a link's name."""
    epoch, _, first = name.partition("-")
    return int(epoch), int(first)


def open_name(epoch: int, first: int, day: str, attempt: str) -> str:
    """The name of a link while it is made; ``day`` is empty for one without lines."""
    return f"_open-{link_name(epoch, first)}-{day or '00-00-00'}-{attempt}"


def file_name(partition: int, epoch: int, first: int) -> str:
    """The name of a range's file."""
    return f"{FILE_PREFIX}-{partition}-{epoch}-{first:019d}.log"


def in_use_name(partition: int, epoch: int, first: int, attempt: str) -> str:
    """The name of a range's file while it is written."""
    return f"_{FILE_PREFIX}-{partition}-{epoch}-{first:019d}.{attempt}.tmp"


def digest_to_list(digest: Digest) -> list[int | str]:
    """``[lines, bytes, hash sum as 16 hexadecimal digits]``."""
    return [digest.lines, digest.size_bytes, f"{digest.hash_sum:016x}"]


def digest_of_list(values: list[Any]) -> Digest:
    """What `digest_to_list` gave."""
    return Digest(int(values[0]), int(values[1]), int(values[2], 16))


@dataclass(frozen=True, slots=True)
class Mark:
    """What a partition holds of one replay, from its first line on and over all links and epochs.

    Attributes:
        number: the highest line number.
        last_arrival_ms: when its last record came, Kafka's time.
        digest: its lines, each once.
    """

    number: int
    last_arrival_ms: int
    digest: Digest


def of_replays(marks: Iterable[tuple[str, Mark]]) -> tuple[dict[str, Digest], dict[str, int]]:
    """The lines of each replay in all partitions, and its highest number."""
    replays: dict[str, Digest] = {}
    numbers: dict[str, int] = {}
    for replay, mark in marks:
        replays[replay] = replays.get(replay, Digest()) + mark.digest
        numbers[replay] = max(numbers.get(replay, 0), mark.number)
    return replays, numbers


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of a chain from its first link to this one, over all epochs.

    Attributes:
        records: offsets covered by links of kind ``lines`` and ``memory``.
        digest: their lines, repeats left out; those of ``memory`` links included.
        anonymous: the part of ``digest`` without identity (no key, or a foreign one).
        memory: the part of ``digest`` in links of kind ``memory``, whose files profile memory wrote.
        repeats: records left out.
        foreign: records whose key was no identity; they are in ``anonymous``.
        expired: offsets that retention took before they were read.
    """

    records: int = 0
    digest: Digest = field(default_factory=Digest)
    anonymous: Digest = field(default_factory=Digest)
    memory: Digest = field(default_factory=Digest)
    repeats: int = 0
    foreign: int = 0
    expired: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        """Both together."""
        return Totals(
            self.records + other.records,
            self.digest + other.digest,
            self.anonymous + other.anonymous,
            self.memory + other.memory,
            self.repeats + other.repeats,
            self.foreign + other.foreign,
            self.expired + other.expired,
        )


@dataclass(frozen=True, slots=True)
class Link:
    """One link, or, while it is open, what of it has been flushed.

    Attributes:
        kind: ``lines`` (a file), ``memory`` (profile memory wrote these offsets, in files of its own),
            ``expired`` (retention took them), ``ended`` (the epoch ends here: it is another topic, or the
            broker lost its tail).
        topic, topic_id: the topic in which ``next`` counts.
        epoch, first: where it begins; with the partition its place in the chain.
        next_epoch, next: where the link after it begins. The same epoch but behind ``ended``.
        leader_epoch: of the last record; tells reused offsets. -1: not known.
        day: the dated folder; of links without lines that of the link before.
        attempt: who wrote it, 8 hexadecimal digits.
        first_arrival_ms, last_arrival_ms: Kafka's times of the first and last record; 0 without records.
        digest: the lines of this range, as its file holds them.
        anonymous: the part of them without identity.
        repeats, foreign: records left out; records with a key that is no identity.
        text: lines as a reader of the file counts them, where records hold line ends; else equals ``digest``.
        replays: of each replay in this range its lines.
        marks: of each replay that is not sealed, over all links.
        totals: over all links.
        reason: in words, for ``ended``.
        is_partial: marks did not fit (an open link with very many replays): count it as in flight.
    """

    kind: Kind
    topic: str
    topic_id: str
    partition: int
    epoch: int
    first: int
    next_epoch: int
    next: int
    leader_epoch: int = -1
    day: str = ""
    attempt: str = ""
    first_arrival_ms: int = 0
    last_arrival_ms: int = 0
    digest: Digest = field(default_factory=Digest)
    anonymous: Digest = field(default_factory=Digest)
    repeats: int = 0
    foreign: int = 0
    text: Digest = field(default_factory=Digest)
    replays: dict[str, Digest] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    reason: str = ""
    is_partial: bool = False

    @property
    def name(self) -> str:
        """The link's own name."""
        return link_name(self.epoch, self.first)

    @property
    def file_name(self) -> str:
        """The name of its lines' file in the day's folder."""
        return file_name(self.partition, self.epoch, self.first)

    @property
    def length_bytes(self) -> int:
        """Length of its file: each line has a line end."""
        return self.digest.size_bytes + self.digest.lines

    @property
    def records(self) -> int:
        """Offsets that it covers with lines."""
        return self.next - self.first if self.kind in ("lines", "memory") else 0

    def days(self, zone: str) -> tuple[str, str] | None:
        """First and last day of its lines; None when it has none. Only a memory link may have several."""
        if self.kind not in ("lines", "memory") or not self.day:
            return None
        if self.kind == "lines" or not self.last_arrival_ms:
            return self.day, self.day
        return day_name(self.first_arrival_ms, zone), day_name(self.last_arrival_ms, zone)

    def holds_day(self, day: str, zone: str) -> bool:
        """Whether lines of a day may be in it."""
        days = self.days(zone)
        return days is not None and days[0] <= day <= days[1]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; what is empty is left out."""
        totals = self.totals
        values: dict[str, Any] = {
            "format": FORMAT,
            "kind": self.kind,
            "topic": self.topic,
            "topic_id": self.topic_id,
            "partition": self.partition,
            "epoch": self.epoch,
            "first": self.first,
            "next_epoch": self.next_epoch,
            "next": self.next,
            "leader_epoch": self.leader_epoch,
            "attempt": self.attempt,
            "totals": {
                "records": totals.records,
                "digest": digest_to_list(totals.digest),
                "anonymous": digest_to_list(totals.anonymous),
                "memory": digest_to_list(totals.memory),
                "repeats": totals.repeats,
                "foreign": totals.foreign,
                "expired": totals.expired,
            },
            "marks": {
                replay: [mark.number, mark.last_arrival_ms, *digest_to_list(mark.digest)]
                for replay, mark in self.marks.items()
            },
        }
        if self.day:
            values["day"] = self.day
        if self.kind in ("lines", "memory"):
            values |= {
                "first_arrival_ms": self.first_arrival_ms,
                "last_arrival_ms": self.last_arrival_ms,
                "digest": digest_to_list(self.digest),
                "anonymous": digest_to_list(self.anonymous),
                "repeats": self.repeats,
                "foreign": self.foreign,
                "replays": {replay: digest_to_list(digest) for replay, digest in self.replays.items()},
            }
            if self.text != self.digest:
                values["text"] = digest_to_list(self.text)
        if self.reason:
            values["reason"] = self.reason
        if self.is_partial:
            values["is_partial"] = True
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Link":
        """Rebuild what `to_json`, or the agent, gave.

        Raises:
            ValueError: another version wrote it.
            KeyError, TypeError: it is no link.
        """
        if values.get("format") != FORMAT:
            raise ValueError(f"a link has format {values.get('format')}, expected {FORMAT}")
        totals = values["totals"]
        digest = digest_of_list(values.get("digest", _NONE))
        return cls(
            kind=values["kind"],
            topic=values["topic"],
            topic_id=values["topic_id"],
            partition=values["partition"],
            epoch=values["epoch"],
            first=values["first"],
            next_epoch=values["next_epoch"],
            next=values["next"],
            leader_epoch=values["leader_epoch"],
            day=values.get("day", ""),
            attempt=values["attempt"],
            first_arrival_ms=values.get("first_arrival_ms", 0),
            last_arrival_ms=values.get("last_arrival_ms", 0),
            digest=digest,
            anonymous=digest_of_list(values.get("anonymous", _NONE)),
            repeats=values.get("repeats", 0),
            foreign=values.get("foreign", 0),
            text=digest_of_list(values["text"]) if "text" in values else digest,
            replays={replay: digest_of_list(found) for replay, found in values.get("replays", {}).items()},
            marks={
                replay: Mark(mark[0], mark[1], digest_of_list(mark[2:]))
                for replay, mark in values["marks"].items()
            },
            totals=Totals(
                totals["records"],
                digest_of_list(totals["digest"]),
                digest_of_list(totals["anonymous"]),
                digest_of_list(totals["memory"]),
                totals["repeats"],
                totals["foreign"],
                totals["expired"],
            ),
            reason=values.get("reason", ""),
            is_partial=values.get("is_partial", False),
        )


_NONE: list[Any] = [0, 0, "0"]
