"""Chains and days as they are read: what is whole, what is wrong and in which words, and what is asked."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from logpipe.accounting import chain as chain_module
from logpipe.accounting import days as days_module
from logpipe.accounting.chain import Chain, ChainError, ChainReader, Problem, own, parallel
from logpipe.accounting.days import Days, DaysReader, is_memory_file, memory_part
from logpipe.clients.hdfs import HdfsError, dumps
from logpipe.contracts.chain import FLOOR_ATTRIBUTE, LINK_ATTRIBUTE, Layout, Link, Mark, Totals, open_name
from logpipe.contracts.sealed import Member, Part, SealedDay, SealedFile
from logpipe.digest import Digest
from tests.memory_hdfs import MemoryHdfs

ROOT = "/logs"
DAY, NEXT_DAY = "26-03-10", "26-03-11"
NOON_MS = 1_773_144_000_000  # of DAY, UTC
ATTEMPT = "0123abcd"
DAY_MS = 86_400_000


def texts(partition: int, epoch: int, first: int, count: int) -> list[bytes]:
    return [b"%d.%d.%d" % (partition, epoch, number) for number in range(first, first + count)]


class Logs:
    """The folder of the logs, and who writes there as agent 2 does."""

    def __init__(self, memory_file: Path | None = None) -> None:
        self.hdfs = MemoryHdfs()
        self.layout = Layout(ROOT)
        self.hdfs.make_folder(self.layout.chains)
        self.hdfs.make_folder(self.layout.sealed_days)
        self.reader = ChainReader(self.hdfs, f"{ROOT}/")  # type: ignore[arg-type]
        self.memory_file = memory_file
        self.heads: dict[int, Link] = {}

    def range(self, count: int, partition: int = 0, day: str = DAY, **more: Any) -> Link:
        """The next link of a partition, with its file."""
        head = self.heads.get(partition)
        epoch, first = (head.next_epoch, head.next) if head else (0, 0)
        values: dict[str, Any] = {
            "kind": "lines",
            "next_epoch": epoch,
            "next": first + count,
            "day": day,
            **more,
        }
        lines = texts(partition, epoch, first, count) if values["kind"] in ("lines", "memory") else []
        values["digest"] = values["text"] = Digest.of(lines)
        if lines:
            values = {"first_arrival_ms": NOON_MS, "last_arrival_ms": NOON_MS} | values
        made = Link(
            topic="t", topic_id="T", partition=partition, epoch=epoch, first=first, attempt=ATTEMPT, **values
        )
        made = replace(made, totals=(head.totals if head else Totals()) + own(made))
        self.link(made)
        self.heads[partition] = made
        if made.kind == "lines":
            self.hdfs.write(self.file(made), b"".join(line + b"\n" for line in lines))
        return made

    def link(self, link: Link, name: str = "") -> str:
        path = f"{self.layout.chain(link.partition)}/{name or link.name}"
        self.hdfs.write(path, b"", overwrite=True)
        self.hdfs.set_attribute(path, LINK_ATTRIBUTE, dumps(link.to_json()))
        return path

    def file(self, link: Link) -> str:
        return f"{self.layout.day(link.day)}/{link.file_name}"

    def path(self, link: Link) -> str:
        return f"{self.layout.chain(link.partition)}/{link.name}"

    def floor(self, link: Link) -> None:
        folder = self.layout.chain(link.partition)
        self.hdfs.set_attribute(folder, FLOOR_ATTRIBUTE, link.name.encode())

    def seal(self, day: str, *links: Link, forgotten_at: str = "", **more: Any) -> SealedDay:
        """The day's sums, and its files under new names."""
        files = []
        for number, link in enumerate(links, start=1):
            name = f"apache_logs-{number}.log"
            files.append(SealedFile(name, link.length_bytes, link.text, 1))
            if not forgotten_at:
                self.hdfs.rename(self.file(link), f"{self.layout.day(day)}/{name}")
        digest = sum((link.digest for link in links), start=Digest())
        parts = tuple(
            Part(link.partition, link.topic_id, link.epoch, {}, (Member(link.first, link.next, link.digest),))
            for link in links
        )
        made = SealedDay(
            day=day, attempt=ATTEMPT, digest=digest, anonymous=Digest(), replays={}, repeats=0, foreign=0,
            expired=0, files=tuple(files), parts=parts, sealed_at="2026-03-12", forgotten_at=forgotten_at,
        )  # fmt: skip
        made = replace(made, **more)
        self.hdfs.write(self.layout.sealed(day), dumps(made.to_json()), overwrite=True)
        return made

    def days(self, **more: Any) -> Days:
        return DaysReader(self.reader, self.memory_file).read(self.reader.chains(), **more)

    def told(self, **more: Any) -> list[str]:
        return [problem.text for problem in self.days(**more).problems]


@pytest.fixture
def logs() -> Logs:
    return Logs()


# ---------------------------------------------------------------------- chains and links


def test_each_partition_has_its_chain(logs: Logs) -> None:
    assert logs.reader.chains() == {}
    links = [logs.range(3, 10), logs.range(2, 2), logs.range(4, 10)]
    logs.hdfs.write(f"{logs.layout.chains}/7", b"no folder")
    logs.hdfs.write(f"{logs.layout.chains}/other/x", b"")
    logs.hdfs.write(logs.layout.finish, b"")
    chains = logs.reader.chains()
    assert list(chains) == [2, 10]
    assert chains[2] == Chain(2, (links[1].name,), links[1])
    assert chains[10] == Chain(10, (links[0].name, links[2].name), links[2])


def test_the_open_link_behind_the_newest_tells_what_is_flushed(logs: Logs) -> None:
    newest = logs.range(3)

    def opened(first: int, next_: int, attempt: str) -> Link:
        made = replace(newest, first=first, next=next_, attempt=attempt)
        logs.link(made, open_name(0, first, DAY, attempt))
        return made

    assert logs.reader.chains()[0].open is None
    opened(1, 9, "0000000a")  # of a writer that is late
    flushed = opened(3, 5, "0000000b")
    assert logs.reader.chains()[0].open == flushed
    more = opened(3, 7, "0000000c")
    opened(3, 6, "0000000d")
    assert logs.reader.chains()[0].open == more
    logs.hdfs.write(f"{logs.layout.chain(0)}/{open_name(0, 3, DAY, '0000000e')}", b"")
    assert logs.reader.chains()[0].open == more, "one that says nothing yet hides no other"


def test_before_the_first_link_any_open_one_counts(logs: Logs) -> None:
    made = logs.range(3)
    logs.hdfs.delete(logs.path(made))
    logs.link(made, open_name(0, 0, DAY, ATTEMPT))
    assert logs.reader.chains()[0] == Chain(0, (), None, made)


def test_a_link_that_is_gone_or_says_nothing_yet_is_none(logs: Logs) -> None:
    made = logs.range(3)
    assert logs.reader.link(0, made.name) == made
    assert logs.reader.link(0, "000000-0000000000000000003") is None
    logs.hdfs.write(f"{logs.layout.chain(0)}/{open_name(0, 3, DAY, ATTEMPT)}", b"")
    assert logs.reader.link(0, open_name(0, 3, DAY, ATTEMPT)) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (
            b"{",
            "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (b'{"format": 2}', "ValueError: a link has format 2, expected 1"),
        (b'{"format": 1}', "KeyError: 'totals'"),
        (b'{"side": "side-gone"}', "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_a_link_that_cannot_be_read_is_named_with_the_way_out(
    logs: Logs, value: bytes | None, why: str
) -> None:
    path = f"{logs.layout.chain(0)}/{'0' * 6}-{'0' * 19}"
    logs.hdfs.write(path, b"")
    if value is not None:
        logs.hdfs.set_attribute(path, LINK_ATTRIBUTE, value)
    with pytest.raises(ChainError) as caught:
        logs.reader.chains()
    assert str(caught.value) == (
        f"The link {path} cannot be read ({why}): another version wrote it, or it is damaged: run the "
        "version that wrote it, or bring HDFS back from a backup"
    )


def test_what_is_too_long_for_an_attribute_stands_in_a_side_file(logs: Logs) -> None:
    made = logs.range(3)
    logs.hdfs.write(f"{logs.layout.chain(0)}/side-x", dumps(made.to_json()))
    logs.hdfs.set_attribute(logs.path(made), LINK_ATTRIBUTE, b'{"side": "side-x"}')
    assert logs.reader.link(0, made.name) == made


class Vanishing(MemoryHdfs):
    """A path is deleted by another one when it has been asked for so often."""

    victim = ""
    after = 1

    def _seen(self, path: str) -> None:
        if path == self.victim:
            self.after -= 1
            if self.after == 0:
                self.delete(path)

    def attribute(self, path: str, name: str) -> bytes | None:
        found = super().attribute(path, name)
        self._seen(path)
        return found


def test_a_link_whose_side_file_goes_with_it_is_gone(logs: Logs) -> None:
    made = logs.range(3)
    logs.hdfs.set_attribute(logs.path(made), LINK_ATTRIBUTE, b'{"side": "side-gone"}')
    logs.hdfs.__class__ = Vanishing
    logs.hdfs.victim = logs.path(made)  # type: ignore[attr-defined]
    assert logs.reader.link(0, made.name) is None


def test_a_newest_link_that_is_always_gone_is_looked_for_ten_times(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.range(3)
    looks = []
    monkeypatch.setattr(logs.reader, "link", lambda *place: looks.append(place))
    with pytest.raises(ChainError) as caught:
        logs.reader.chains()
    assert str(caught.value) == "The newest link in /logs/_chain/0 was gone at each of 10 looks: ask again"
    assert len(looks) == 10


def test_an_open_link_that_says_nothing_is_waited_for_five_times(logs: Logs) -> None:
    path = f"{logs.layout.chain(0)}/{open_name(0, 0, DAY, ATTEMPT)}"
    logs.hdfs.write(path, b"")
    assert logs.reader.chains()[0] == Chain(0)
    assert logs.hdfs.asked.count(("attribute", path)) == 6


def test_links_are_read_from_the_floor_on(logs: Logs) -> None:
    links = [logs.range(count) for count in (1, 2, 3)] + [logs.range(1, 1)]
    chains = logs.reader.with_links(logs.reader.chains())
    assert (chains[0].links, chains[0].is_pruned) == (tuple(links[:3]), False)
    assert (chains[1].links, chains[1].is_pruned) == ((links[3],), False)
    logs.floor(links[1])
    logs.hdfs.asked.clear()
    chain = logs.reader.with_links({0: chains[0]})[0]
    assert (chain.links, chain.is_pruned) == (tuple(links[1:3]), True)
    assert ("attribute", logs.path(links[2])) not in logs.hdfs.asked, "the newest is known"


def test_a_link_that_is_pruned_meanwhile_takes_those_before_it_along(logs: Logs) -> None:
    links = [logs.range(1) for _ in range(4)]
    chains = logs.reader.chains()
    logs.hdfs.delete(logs.path(links[1]))
    chain = logs.reader.with_links(chains)[0]
    assert (chain.links, chain.is_pruned) == (tuple(links[2:]), True)


def test_what_a_chain_holds_is_told_by_its_open_link_unless_that_is_partial() -> None:
    marks = {"a": Mark(3, NOON_MS, Digest.of([b"x"]))}
    newest = Link("lines", "t", "T", 0, 0, 0, 0, 5, totals=Totals(5), marks=marks)
    opened = replace(newest, first=5, next=8, totals=Totals(8), marks={})
    assert (Chain(0).totals, Chain(0).marks, Chain(0).flushed("T"), Chain(0).final("T")) == (
        Totals(),
        {},
        0,
        0,
    )
    chain = Chain(0, newest=newest)
    assert (chain.totals, chain.marks, chain.flushed("T"), chain.final("T")) == (Totals(5), marks, 5, 5)
    assert (chain.flushed("U"), chain.final("U")) == (0, 0)
    chain = Chain(0, newest=newest, open=opened)
    assert (chain.totals, chain.marks, chain.flushed("T"), chain.final("T")) == (Totals(8), {}, 8, 5)
    chain = Chain(0, newest=newest, open=replace(opened, is_partial=True))
    assert (chain.totals, chain.flushed("T")) == (Totals(5), 5)


def test_marks_before_a_link_are_those_of_the_one_before_it() -> None:
    first = Link("lines", "t", "T", 0, 0, 0, 0, 5, marks={"a": Mark(3, 0, Digest())})
    second = replace(first, first=5, next=8, marks={"a": Mark(6, 0, Digest())})
    third = replace(first, first=8, next=9)
    chain = Chain(0, links=(first, second, third))
    assert [chain.before(link) for link in chain.links] == [None, first, second]
    assert [chain.marks_before(link) for link in chain.links] == [{}, {"a": 3}, {"a": 6}]
    assert replace(chain, is_pruned=True).marks_before(first) is None


def test_what_one_link_adds() -> None:
    one, two = Digest.of([b"one"]), Digest.of([b"two", b"three"])
    link = Link("lines", "t", "T", 0, 0, 10, 0, 17, digest=two, anonymous=one, repeats=3, foreign=4)
    assert own(link) == Totals(7, two, one, Digest(), 3, 4)
    assert own(replace(link, kind="memory")) == Totals(7, two, one, two, 3, 4)
    assert own(replace(link, kind="expired")) == Totals(expired=7)
    assert own(replace(link, kind="ended")) == Totals()


def test_a_gap_an_overlap_and_wrong_sums_in_words() -> None:
    first = Link("lines", "t", "T", 3, 0, 0, 0, 5, totals=Totals(5))
    last = Link("lines", "t", "T", 3, 0, 5, 0, 7, totals=Totals(7))

    def told(*links: Link, **more: Any) -> list[Problem]:
        return list(Chain(3, links=links, **more).problems())

    assert told() == told(first, last) == []
    name, later = f"000000-{5:019d}", f"000000-{6:019d}"
    assert told(first, replace(last, first=6)) == [
        Problem(
            f"a gap in the chain: partition 3, link 000000-{0:019d} ends at {name}, and {later} follows. "
            "Links are not repaired: restore them from a backup of the NameNode"
        )
    ]
    assert told(first, replace(last, first=4))[0].text.startswith("an overlap in the chain: partition 3, ")
    assert told(first, replace(last, epoch=1))[0].text.startswith("a gap in the chain: ")
    wrong = replace(last, totals=Totals(7, expired=1))
    assert told(first, wrong) == [
        Problem(f"partition 3, link {name}: its sums are not those of the link before it and its own")
    ]
    assert told(replace(first, totals=Totals(5, repeats=1))) == [
        Problem(
            f"partition 3, link 000000-{0:019d}: links before it are gone, and no floor says that they may be"
        )
    ]
    assert told(replace(first, totals=Totals(5, repeats=1)), is_pruned=True) == []
    assert told(first, replace(last, totals=Totals(6))) == [], "offsets without a record are no lines"


def test_calls_in_parallel_keep_their_order() -> None:
    assert parallel(lambda number: number * number, range(50)) == [number * number for number in range(50)]


def test_a_wish_for_final_ranges_is_repeated_after_a_while(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(chain_module.time, "monotonic", lambda: now_s[0])
    fresh = ChainReader(logs.hdfs, ROOT)  # type: ignore[arg-type]
    written = []
    monkeypatch.setattr(
        logs.hdfs, "write", lambda path, content, *, overwrite: written.append((path, content, overwrite))
    )
    for now_s[0] in (0.0, 9.9, 10.0, 19.9):
        fresh.finish()
    assert written == [(logs.layout.finish, b"", True)] * 2


# ---------------------------------------------------------------------- days under way


def test_days_that_are_whole(logs: Logs) -> None:
    links = [logs.range(3), logs.range(2, 1), logs.range(4, day=NEXT_DAY)]
    days = logs.days()
    assert days.chains == {
        0: Chain(0, (links[0].name, links[2].name), links[2], None, (links[0], links[2]), adds_up=True),
        1: Chain(1, (links[1].name,), links[1], None, (links[1],)),
    }
    assert replace(days, chains={}) == Days()
    assert logs.hdfs.asked.count(("attribute", logs.path(links[1]))) == 1
    assert logs.days(each_link=True).chains[0].adds_up is False


def test_links_between_the_first_and_the_newest_are_proved_and_not_read(logs: Logs) -> None:
    links = [logs.range(count) for count in (1, 2, 3, 4, 5)]
    logs.hdfs.rename(logs.file(links[1]), f"{logs.layout.day(DAY)}/_{links[1].file_name[:-4]}.{ATTEMPT}.tmp")
    days = logs.days()
    assert days.problems == ()
    assert days.chains[0] == Chain(
        0, tuple(link.name for link in links), links[4], None, (links[0], links[4]), adds_up=True
    )
    asked = [path for operation, path in logs.hdfs.asked if operation == "attribute"]
    assert not {logs.path(link) for link in links[1:4]} & set(asked)
    logs.hdfs.asked.clear()
    assert logs.days(each_link=True).chains[0].links == tuple(links)


def test_a_link_without_a_file_is_read_among_them(logs: Logs) -> None:
    before = [logs.range(2), logs.range(3)]
    expired = logs.range(4, kind="expired")
    after = [logs.range(2), logs.range(3)]
    days = logs.days()
    assert (days.chains[0].links, days.chains[0].adds_up) == ((before[0], expired, after[1]), True)
    assert days.problems == ()


def test_epochs_follow_each_other_in_what_is_not_read(logs: Logs) -> None:
    links = [
        logs.range(2),
        logs.range(3),
        logs.range(0, kind="ended", next_epoch=1, next=0),
        logs.range(2),
        logs.range(1),
    ]
    chain = logs.days().chains[0]
    assert (chain.links, chain.adds_up) == ((links[0], links[2], links[4]), True)
    logs.hdfs.delete(logs.path(links[3]))
    assert logs.days().chains[0].adds_up is False


def test_an_epoch_that_nothing_ended_does_not_add_up(logs: Logs) -> None:
    links = [logs.range(2), logs.range(3)]
    logs.heads[0] = replace(links[1], next_epoch=1)
    logs.range(1)
    assert logs.told()[0].startswith("a gap in the chain: partition 0, link 000000-")


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_sums_that_do_not_add_up_have_every_link_read(logs: Logs, at: int) -> None:
    links = [logs.range(count) for count in (1, 2, 3, 4)]
    wrong = replace(links[at], totals=links[at].totals + Totals(memory=Digest.of([b"x"])))
    logs.link(wrong)
    days = logs.days()
    read = tuple(wrong if link is links[at] else link for link in links)
    if at in (0, 3):
        assert (days.chains[0].links, days.chains[0].adds_up) == (read, False)
        assert days.problems
    else:
        assert days.problems == (), "what the newest link says is what counts"
        assert len(logs.told(each_link=True)) >= 1


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + b"x", lambda text: b""])
def test_a_file_in_the_middle_of_another_length_is_told(logs: Logs, change: Callable[[bytes], bytes]) -> None:
    links = [logs.range(count) for count in (1, 2, 3, 4)]
    path = logs.file(links[2])
    text = logs.hdfs.files[path]
    logs.hdfs.write(path, change(text), overwrite=True)
    assert logs.told() == [
        f"{path} has {len(change(text)):,} bytes, its link says {len(text):,}: `make repair DATE=2026-03-10` "
        "writes it again from the topic"
    ]


def test_offsets_that_no_link_covers_are_no_chain(logs: Logs) -> None:
    links = [logs.range(2) for _ in range(4)]
    logs.hdfs.delete(logs.path(links[1]))
    assert any(text.startswith("a gap in the chain: partition 0") for text in logs.told())


def test_a_link_that_went_while_it_was_asked_for_adds_nothing_up(logs: Logs) -> None:
    links = [logs.range(2) for _ in range(4)]
    chains = logs.reader.chains()
    logs.hdfs.delete(logs.path(links[0]))
    chain = DaysReader(logs.reader).read(chains).chains[0]
    assert (chain.links, chain.is_pruned, chain.adds_up) == (tuple(links[1:]), True, False)


def test_a_chain_from_its_floor_on_adds_up(logs: Logs) -> None:
    links = [logs.range(2) for _ in range(5)]
    logs.floor(links[2])
    for link in links[:2]:
        logs.hdfs.delete(logs.path(link))
        logs.hdfs.delete(logs.file(link))
    chain = logs.days().chains[0]
    assert (chain.links, chain.is_pruned, chain.adds_up) == ((links[2], links[4]), True, True)


def test_a_missing_file_is_told_with_its_lines(logs: Logs) -> None:
    links = [logs.range(1200), logs.range(3)]
    logs.hdfs.delete(logs.file(links[0]))
    assert logs.days().problems == (
        Problem(
            f"{logs.file(links[0])} is missing, with 1,200 lines: `make repair DATE=2026-03-10` writes it "
            "again from the topic",
            1200,
        ),
    )


def test_a_file_that_is_renamed_between_two_rows_of_a_listing_is_there(logs: Logs) -> None:
    link = logs.range(3)
    in_use = f"{logs.layout.day(DAY)}/_{link.file_name[:-4]}.{ATTEMPT}.tmp"
    entries = logs.hdfs.list(logs.layout.day(DAY))
    assert list(DaysReader(logs.reader)._lines_of(DAY, [link], [])) == [], "it is listed again"
    logs.hdfs.rename(logs.file(link), in_use)
    assert list(DaysReader(logs.reader)._lines_of(DAY, [link], entries)) == []
    assert list(DaysReader(logs.reader)._lines_of(DAY, [link], [])) == []


def test_files_that_no_link_knows_are_told(logs: Logs) -> None:
    link = logs.range(3)
    folder = logs.layout.day(DAY)
    for name in (f"apache_logs-0-0-{1:019d}.log", "apache_logs-copy.log", f"apache_logs-5-0-{0:019d}.log"):
        logs.hdfs.write(f"{folder}/{name}", b"x\n")
    for name in (f"apache_logs-0-0-{3:019d}.log", f"apache_logs-0-1-{0:019d}.log"):
        logs.hdfs.write(f"{folder}/{name}", b"linked since the chain was read\n")
    for name in (
        "apache_logs.1773144000000.log",
        "_SUCCESS",
        "notes.log",
        "apache_logs-1.tmp",
        "apache_logs.log/x",
    ):
        logs.hdfs.write(f"{folder}/{name}", b"")
    rest = (
        "is in no link, its lines are too many for whoever reads the day: `make repair DATE=2026-03-10` puts "
        "it aside"
    )
    assert set(logs.told()) == {
        f"{folder}/apache_logs-0-0-{1:019d}.log {rest}",
        f"{folder}/apache_logs-5-0-{0:019d}.log {rest}",
        f"{folder}/apache_logs-copy.log {rest}",
    }
    logs.link(replace(link, next=5))


def test_a_folder_that_is_no_day_is_not_looked_at(logs: Logs) -> None:
    logs.range(3)
    logs.hdfs.write(f"{ROOT}/_aside/{DAY}/apache_logs-copy.log", b"x\n")
    logs.hdfs.write(f"{ROOT}/26-03-09-old/apache_logs-copy.log", b"x\n")
    logs.hdfs.write(f"{ROOT}/26-03-09", b"a file")
    assert logs.told() == []


def test_a_day_without_a_folder_is_missing(logs: Logs) -> None:
    link = logs.range(3)
    logs.hdfs.delete(logs.layout.day(DAY))
    assert [problem.lines for problem in logs.days().problems] == [3]
    assert logs.file(link) in logs.told()[0]


def test_two_files_of_one_place_prove_nothing(logs: Logs) -> None:
    links = [logs.range(count) for count in (1, 2, 3)]
    copy = f"{logs.layout.day(DAY)}/_{links[1].file_name[:-4]}.ffffffff.tmp"
    logs.hdfs.write(copy, logs.hdfs.files[logs.file(links[1])])
    days = logs.days()
    assert (days.chains[0].links, days.chains[0].adds_up, days.problems) == (tuple(links), True, ())
    logs.hdfs.write(copy.replace("ffffffff", "eeeeeeee"), b"")
    assert logs.days().chains[0].links == tuple(links)


# ---------------------------------------------------------------------- profile memory


def test_what_profile_memory_should_have_written_and_what_its_files_hold(logs: Logs) -> None:
    logs.range(3)
    link = logs.range(4, kind="memory")
    logs.hdfs.write(f"{logs.layout.day(DAY)}/apache_logs.1773144000000.log", b"a\nb\n")
    logs.hdfs.write(f"{logs.layout.day(NEXT_DAY)}/_apache_logs.1773230400000.log.tmp", b"c")
    days = logs.days()
    assert days.memory_due == link.digest
    assert days.memory_found == Digest.of([b"a", b"b", b"c"])
    assert set(days.memory_files) == {
        f"{ROOT}/{DAY}/apache_logs.1773144000000.log",
        f"{ROOT}/{NEXT_DAY}/_apache_logs.1773230400000.log.tmp",
    }
    assert days.problems == ()


@pytest.mark.parametrize(
    ("name", "is_memory"),
    [
        ("apache_logs.17.log", True),
        ("_apache_logs.17.log.tmp", True),
        ("apache_logs-1.log", False),
        ("_apache_logs.17.log", False),
        ("apache_logs.17.log.tmp", False),
    ],
)
def test_names_of_profile_memorys_files(name: str, is_memory: bool) -> None:
    assert is_memory_file(name) is is_memory


def test_days_around_memory_links_are_those_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert [days_module._day(NOON_MS, days) for days in (-1, 0, 1)] == ["26-03-09", DAY, NEXT_DAY]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def part(first: int, *members: Member, partition: int = 0, epoch: int = 0) -> Part:
    return Part(partition, "T", epoch, {}, members)


def test_the_part_of_memory_links_in_a_sealed_day(logs: Logs) -> None:
    a, b, c = (Digest.of([text]) for text in (b"a", b"b", b"c"))
    link = Link("memory", "t", "T", 0, 0, 10, 0, 20)
    day = logs.seal(
        DAY,
        parts=(
            part(0, Member(5, 10, a, "memory"), Member(10, 15, b, "memory"), Member(15, 20, c)),
            part(0, Member(12, 15, a, "memory"), partition=1),
            part(0, Member(12, 15, a, "memory"), epoch=1),
            part(0, Member(20, 25, a, "memory")),
        ),
    )
    assert memory_part(day, [link]) == b
    assert memory_part(day, [replace(link, next=21)]) == a + b
    assert memory_part(day, []) == Digest()
    kept = replace(
        day,
        unconfirmed="retention took them",
        files=(SealedFile("x", 9, a + b + c, 0), SealedFile("y", 9, a, 0)),
    )
    assert memory_part(kept, []) == a + a + b, "all that its files hold but what links of lines gave"


def test_what_a_sealed_day_holds_of_a_memory_link_is_due_no_more(logs: Logs) -> None:
    link = logs.range(4, kind="memory", first_arrival_ms=NOON_MS, last_arrival_ms=NOON_MS + DAY_MS)
    early, late = Digest.of([b"early"]), Digest.of([b"late"])
    days = {
        "26-03-09": early,
        DAY: late,
        NEXT_DAY: early,
        "26-03-12": late,
        "26-03-13": early,
        "26-03-08": early,
    }
    for day, digest in days.items():
        logs.seal(day, parts=(part(0, Member(0, 1, digest, "memory")),))
        logs.hdfs.make_folder(logs.layout.day(day))
        logs.hdfs.write(f"{logs.layout.day(day)}/_SUCCESS", b"")
    due = link.digest - (early + late + early + late)
    assert logs.days().memory_due == due, "days beside its own too: midnight may be that of another zone"


# ---------------------------------------------------------------------- sealed days


def test_a_sealed_day_is_looked_at_once_and_again_when_something_moved(tmp_path: Path) -> None:
    memory = tmp_path / "sealed.json"
    logs = Logs(memory)
    link = logs.range(3)
    logs.seal(DAY, link)
    later = logs.range(2, day=NEXT_DAY)
    logs.floor(later)
    days = logs.days()
    assert (days.sealed, days.forgotten, days.problems, days.notes) == (frozenset({DAY}), (), (), ())
    folder = logs.hdfs.status(logs.layout.day(DAY))
    assert folder is not None
    assert json.loads(memory.read_text()) == {DAY: folder.modified_ms}
    logs.hdfs.asked.clear()
    logs.days()
    assert ("read", logs.layout.sealed(DAY)) not in logs.hdfs.asked
    logs.hdfs.write(f"{logs.layout.day(DAY)}/apache_logs-copy.log", b"x\n")
    assert logs.told() == [
        f"{ROOT}/{DAY}/apache_logs-copy.log is no file of the sealed day: "
        "`make repair DATE=2026-03-10` puts it aside"
    ]
    assert json.loads(memory.read_text()) == {DAY: folder.modified_ms}


def test_a_memory_that_is_damaged_or_cannot_be_written_costs_requests_only(tmp_path: Path) -> None:
    memory = tmp_path / "sealed.json"
    logs = Logs(memory)
    logs.seal(DAY, logs.range(3))
    memory.write_text("[1")
    assert logs.days().sealed == {DAY}
    assert list(json.loads(memory.read_text())) == [DAY]
    away = Logs(tmp_path / "nowhere" / "sealed.json")
    away.seal(DAY, away.range(3))
    assert away.told() == []


def test_what_is_remembered_of_other_days_stays(tmp_path: Path) -> None:
    memory = tmp_path / "sealed.json"
    logs = Logs(memory)
    logs.seal(DAY, logs.range(3))
    logs.days()
    logs.seal(NEXT_DAY, logs.range(3, day=NEXT_DAY))
    memory.write_text(json.dumps(json.loads(memory.read_text()) | {"26-01-01": 5}))
    logs.days()
    assert set(json.loads(memory.read_text())) == {DAY, NEXT_DAY}, "and those that are sealed no more go"


def test_a_forgotten_day_is_told_and_not_looked_at_again(tmp_path: Path) -> None:
    memory = tmp_path / "sealed.json"
    logs = Logs(memory)
    link = logs.range(3)
    later = logs.range(2, day=NEXT_DAY)
    logs.floor(later)
    logs.seal(DAY, link, forgotten_at="2026-04-01")
    logs.hdfs.delete(logs.layout.day(DAY))
    for _ in range(2):
        days = logs.days()
        assert (days.forgotten, days.problems) == ((DAY,), ())
    assert json.loads(memory.read_text()) == {DAY: 0}


def sealed_logs() -> tuple[Logs, str]:
    logs = Logs()
    link = logs.range(1500)
    logs.seal(DAY, link, logs.range(2))
    later = logs.range(2, day=NEXT_DAY)
    logs.floor(later)
    return logs, logs.layout.day(DAY)


def test_a_sealed_day_that_is_missing_is_told_with_both_ways_out() -> None:
    logs, folder = sealed_logs()
    logs.hdfs.delete(folder)
    assert logs.days().problems == (
        Problem(
            "The sealed day 26-03-10 is missing, with 1,502 lines: `make repair DATE=2026-03-10` writes it "
            "again as far as Kafka has it, `make forget DATE=2026-03-10` says that it may be gone",
            1502,
        ),
    )


def test_files_of_a_sealed_day_that_are_missing_or_of_another_length_are_told() -> None:
    logs, folder = sealed_logs()
    size = len(logs.hdfs.files[f"{folder}/apache_logs-2.log"])
    logs.hdfs.write(f"{folder}/apache_logs-2.log", b"x" * 1234, overwrite=True)
    logs.hdfs.delete(f"{folder}/apache_logs-1.log")
    mend = "`make repair DATE=2026-03-10` writes it again as far as Kafka has it"
    assert logs.days().problems == (
        Problem(f"{folder}/apache_logs-1.log of a sealed day is missing, with 1,500 lines: {mend}", 1500),
        Problem(f"{folder}/apache_logs-2.log of a sealed day has 1,234 bytes, not {size:,}: {mend}"),
    )


def test_files_that_came_to_a_day_when_it_was_sealed_are_none_too_many() -> None:
    logs, folder = sealed_logs()
    late = logs.range(1, day=DAY)
    assert logs.file(late).startswith(folder)
    assert logs.told() == []
    logs.hdfs.write(f"{folder}/_SUCCESS", b"")
    logs.hdfs.write(f"{folder}/apache_logs-9.txt", b"")
    logs.hdfs.write(f"{folder}/other.log", b"")
    assert logs.told() == []


def test_of_two_sealed_days_each_is_told_and_one_that_is_sealed_no_more_hides_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs, _ = sealed_logs()
    logs.seal("26-03-08")
    logs.seal("26-03-09", logs.range(1, 1, "26-03-09"))
    for day in ("26-03-09", DAY):
        logs.hdfs.delete(f"{logs.layout.day(day)}/apache_logs-1.log")
    sealed = logs.reader.sealed
    monkeypatch.setattr(logs.reader, "sealed", lambda day: None if day == "26-03-08" else sealed(day))
    missing = [text for text in logs.told() if "of a sealed day is missing" in text]
    assert len(missing) == 1, "of the first all files are gone"
    assert any(text.startswith("The sealed day 26-03-09 is missing") for text in logs.told())


def test_a_day_whose_folder_is_being_exchanged_is_a_note() -> None:
    logs, folder = sealed_logs()
    logs.hdfs.rename(folder, f"{ROOT}/away")
    logs.hdfs.make_folder(logs.layout.sealing(DAY))
    days = logs.days()
    assert days.problems == ()
    assert days.notes == (
        "26-03-10 is being sealed: its folder is exchanged; the DAG hdfs_partitions ends that",
    )


def test_a_day_that_is_sealed_meanwhile_is_not_held_against_its_links(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = logs.range(3)
    logs.hdfs.delete(logs.file(link))
    answers = iter([frozenset(), frozenset({DAY})])
    monkeypatch.setattr(logs.reader, "sealed_names", lambda: next(answers))
    days = logs.days()
    assert (days.problems, days.sealed) == ((), {DAY})


def test_names_of_sealed_days(logs: Logs) -> None:
    for name in (f"{DAY}.json", "26-3-1.json", f"{NEXT_DAY}.json.tmp", "x.json"):
        logs.hdfs.write(f"{logs.layout.sealed_days}/{name}", b"{}")
    assert logs.reader.sealed_names() == {DAY}


def test_sums_of_a_sealed_day_that_cannot_be_read_are_named_with_the_way_out(logs: Logs) -> None:
    day = logs.seal(DAY)
    assert logs.reader.sealed(DAY) == day
    assert logs.reader.sealed(NEXT_DAY) is None
    logs.hdfs.write(logs.layout.sealed(DAY), b'{"format": 9}', overwrite=True)
    with pytest.raises(ChainError) as caught:
        logs.reader.sealed(DAY)
    assert str(caught.value) == (
        f"{ROOT}/_sealed/{DAY}.json cannot be read (ValueError: a sealed day has format 9, expected 1): "
        "another version wrote it, or it is damaged: run the version that wrote it, or bring HDFS "
        "back from a backup"
    )
    assert isinstance(caught.value, HdfsError)
