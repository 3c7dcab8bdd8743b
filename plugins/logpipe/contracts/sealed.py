"""A sealed day: what ``L/_sealed/<day>.json`` and the day's own ``_manifest.json`` say.

Its sums stay when its lines are forgotten. Decision 7 says why.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from logpipe.contracts.chain import FILE_PREFIX, Link, digest_of_list, digest_to_list
from logpipe.digest import Digest

FORMAT = 1
MANIFEST_FILE = "_manifest.json"
SUCCESS_FILE = "_SUCCESS"
REPORT_FILE = "_report.json"  # figures of its lines, `logpipe.report`
REPORT_PAGE = "_report.html"  # the same for a person
MOST_REPLAYS = 16  # that a manifest names for a range
BESIDE_LINES = frozenset({MANIFEST_FILE, SUCCESS_FILE, REPORT_FILE, REPORT_PAGE})


def merged_name(number: int) -> str:
    """The name of a sealed day's file, from 1 on."""
    return f"{FILE_PREFIX}-{number}.log"


@dataclass(frozen=True, slots=True)
class Member:
    """What one link gave to the day: its records ``[first, next)``; of a ``memory`` link those of the day.

    Attributes:
        digest: its lines.
        kind: of the link.
        replays: whose lines these are, None among them for lines without identity; None: not known, or more
            than `MOST_REPLAYS`.
    """

    first: int
    next: int
    digest: Digest
    kind: str = "lines"
    replays: tuple[str | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One partition's members in one epoch, in order.

    Attributes:
        topic_id: of the topic in which the offsets count.
        marks: highest number of each replay before the first member: a repair from the topic needs them.
    """

    partition: int
    topic_id: str
    epoch: int
    marks: dict[str, int]
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One of the day's files. ``text``: its lines as a reader counts them; ``members``: how many it holds."""

    name: str
    length_bytes: int
    text: Digest
    members: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """Lines of a sealed day in which an address was replaced.

    Attributes:
        at: when, ISO-8601 UTC.
        before, after: these lines as they were, and as they are.
    """

    at: str
    before: Digest
    after: Digest


@dataclass(frozen=True, slots=True)
class SealedDay:
    """The sums of a day.

    Attributes:
        day: ``%y-%m-%d``.
        attempt: of the sealing that won, or of the last erasure; names the folder that its files come from.
        digest: its lines as they were sent, each once; ``anonymous`` the part of them without identity.
        replays: of each replay its lines.
        repeats, foreign, expired: as in `logpipe.contracts.chain.Totals`, of this day.
        files: in order; together they hold the members of ``parts`` in order, then ``memory_files``.
        memory_files: profile memory's own files, replaced by lines from the topic, or kept (``unconfirmed``).
        unconfirmed: why memory's files could not be compared with the topic; empty when they were.
        erasures: in order; ``files`` say what is left, all other sums what was sent.
        sealed_at, forgotten_at: ISO-8601 UTC; the second is empty while the lines are kept.
    """

    day: str
    attempt: str
    digest: Digest
    anonymous: Digest
    replays: dict[str, Digest]
    repeats: int
    foreign: int
    expired: int
    files: tuple[SealedFile, ...]
    parts: tuple[Part, ...]
    sealed_at: str
    memory_files: tuple[str, ...] = ()
    unconfirmed: str = ""
    forgotten_at: str = ""
    erasures: tuple[Erasure, ...] = ()
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_bytes", sum(file.length_bytes for file in self.files))

    @property
    def lines(self) -> int:
        """How many lines the day has."""
        return self.digest.lines

    @property
    def erased(self) -> Digest:
        """What erasures took from the files' sums: the lines as they were, without what they are."""
        return sum((each.before - each.after for each in self.erasures), start=Digest())

    def members(self) -> Iterator[tuple[Part, Member]]:
        """All members in the order of the files."""
        return ((part, member) for part in self.parts for member in part.members)

    def places(self) -> frozenset[tuple[int, int, int]]:
        """Partition, epoch and first offset of the links whose lines of this day are in it."""
        return frozenset((part.partition, part.epoch, member.first) for part, member in self.members())

    def late(self, links: Iterable[Link]) -> list[Link]:
        """Those of the day that came when it was sealed already: their lines are not in it."""
        merged = self.places()
        return [
            link
            for link in links
            if link.day == self.day and (link.partition, link.epoch, link.first) not in merged
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        chains: dict[str, list[dict[str, Any]]] = {}
        numbers = {None: -1} | {replay: number for number, replay in enumerate(sorted(self.replays))}

        def whose(member: Member) -> list[list[int]]:
            return [] if member.replays is None else [[numbers[each] for each in member.replays]]

        for part in self.parts:
            chains.setdefault(str(part.partition), []).append(
                {
                    "topic_id": part.topic_id,
                    "epoch": part.epoch,
                    "first": part.members[0].first,
                    "next": part.members[-1].next,
                    "marks": part.marks,
                    "members": [
                        [
                            member.first,
                            member.next,
                            digest_to_list(member.digest),
                            member.kind,
                            *whose(member),
                        ]
                        for member in part.members
                    ],
                }
            )
        return {
            "format": FORMAT,
            "day": self.day,
            "attempt": self.attempt,
            "lines": self.lines,
            "digest": digest_to_list(self.digest),
            "anonymous": digest_to_list(self.anonymous),
            "replays": {replay: digest_to_list(digest) for replay, digest in self.replays.items()},
            "repeats": self.repeats,
            "foreign": self.foreign,
            "expired": self.expired,
            "size_bytes": self.size_bytes,
            "files": [
                {
                    "name": file.name,
                    "length_bytes": file.length_bytes,
                    "digest": digest_to_list(file.text),
                    "members": file.members,
                }
                for file in self.files
            ],
            "chains": chains,
            "memory_files": list(self.memory_files),
            "unconfirmed": self.unconfirmed,
            "sealed_at": self.sealed_at,
            "forgotten_at": self.forgotten_at,
            "erasures": [
                {
                    "at": each.at,
                    "lines": each.before.lines,
                    "before": digest_to_list(each.before),
                    "after": digest_to_list(each.after),
                }
                for each in self.erasures
            ],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SealedDay":
        """Rebuild what `to_json` gave.

        Raises:
            ValueError: another version wrote it.
            KeyError, TypeError: it is no sealed day.
        """
        if values.get("format") != FORMAT:
            raise ValueError(f"a sealed day has format {values.get('format')}, expected {FORMAT}")
        names: dict[int, str | None] = {-1: None, **dict(enumerate(sorted(values["replays"])))}
        return cls(
            day=values["day"],
            attempt=values["attempt"],
            digest=digest_of_list(values["digest"]),
            anonymous=digest_of_list(values["anonymous"]),
            replays={replay: digest_of_list(found) for replay, found in values["replays"].items()},
            repeats=values["repeats"],
            foreign=values["foreign"],
            expired=values["expired"],
            files=tuple(
                SealedFile(row["name"], row["length_bytes"], digest_of_list(row["digest"]), row["members"])
                for row in values["files"]
            ),
            parts=tuple(
                Part(
                    int(partition),
                    row["topic_id"],
                    row["epoch"],
                    row["marks"],
                    tuple(
                        Member(
                            first,
                            next_,
                            digest_of_list(digest),
                            kind,
                            tuple(names[number] for number in replays[0]) if replays else None,
                        )
                        for first, next_, digest, kind, *replays in row["members"]
                    ),
                )
                for partition, rows in values["chains"].items()
                for row in rows
            ),
            sealed_at=values["sealed_at"],
            memory_files=tuple(values["memory_files"]),
            unconfirmed=values["unconfirmed"],
            forgotten_at=values["forgotten_at"],
            erasures=tuple(
                Erasure(row["at"], digest_of_list(row["before"]), digest_of_list(row["after"]))
                for row in values.get("erasures", ())
            ),
        )
