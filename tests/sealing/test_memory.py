"""Lines of profile memory: the chain says what HDFS should have, and sealing writes them anew."""

import signal
from collections import Counter

import pytest

from logpipe.accounting.chain import ChainReader
from logpipe.contracts.chain import Link
from logpipe.sealing.over import NotOverError, still_missing
from logpipe.sealing.seal import seal
from tests.sealing.chain_writer import DAY, Pipeline, next_day
from tests.sealing.test_seal import numbered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FIRST, SECOND = "apache_logs.1742000000000.log", "apache_logs.1742000000001.log"


def content(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def test_files_of_memory_that_are_what_the_topic_holds_are_replaced(pipeline):
    lines = numbered(20)
    pipeline.send(lines)
    pipeline.send(numbered(5, "durable"), replay="a")
    pipeline.link(20, kind="memory")
    pipeline.link(25)
    pipeline.put(FIRST, content(lines[10:]))
    pipeline.put(SECOND, content(lines[:10]))
    sealed = seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(lines + numbered(5, "durable"))
    assert (sealed.lines, sealed.anonymous.lines, sealed.unconfirmed) == (25, 20, "")
    assert sealed.memory_files == (FIRST, SECOND)
    assert pipeline.aside() == []


def test_files_of_memory_that_are_something_else_are_put_aside(pipeline):
    lines = numbered(20)
    pipeline.send(lines)
    pipeline.link(20, kind="memory")
    pipeline.put(FIRST, content(lines[:15]))
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(lines)
    assert pipeline.aside() == [FIRST]


def test_a_link_over_two_days_gives_each_its_lines(pipeline):
    pipeline.send(numbered(6), hour=23)
    pipeline.send(numbered(4, "later"), day=next_day(), hour=1)
    pipeline.link(10, kind="memory")
    pipeline.put(FIRST, content(numbered(6)))
    pipeline.put(FIRST, content(numbered(4, "later")), day=next_day())
    assert seal(pipeline.settings, DAY).lines == 6
    assert len(pipeline.links()) == 1
    assert seal(pipeline.settings, next_day()).lines == 4
    assert pipeline.lines() == Counter(numbered(6))
    assert pipeline.lines(next_day()) == Counter(numbered(4, "later"))
    assert pipeline.aside() == pipeline.aside(next_day()) == []


def test_files_of_memory_stay_where_retention_took_the_records(pipeline):
    pipeline.send(numbered(20))
    pipeline.send(numbered(5, "durable"), replay="a")
    pipeline.link(20, kind="memory")
    pipeline.link(25)
    pipeline.put(FIRST, content(numbered(19)) + b"no line end")
    pipeline.forget_before(0, 12)
    sealed = seal(pipeline.settings, DAY)
    assert "offsets 0 to 20 are not there" in sealed.unconfirmed
    assert pipeline.lines() == Counter([*numbered(19), b"no line end", *numbered(5, "durable")])
    assert (sealed.lines, sealed.memory_files) == (25, (FIRST,))
    assert pipeline.aside() == []
    assert seal(pipeline.settings, DAY) == sealed


def chain(pipeline: Pipeline, partition: int = 0) -> tuple[Link, ...]:
    reader = ChainReader(pipeline.hdfs, pipeline.root)
    return reader.with_links(reader.chains())[partition].links


def test_days_that_only_memory_has_read_are_over_and_sealed(pipeline):
    """No agent 2 of profile durable makes their links: the sealing does, one for each day."""
    pipeline.send(numbered(5, "durable"), replay="a", hour=1)
    pipeline.link(5)
    pipeline.send(numbered(5, "durable"), replay="a", hour=2)  # repeats
    pipeline.send(numbered(4, "next"), replay="a", first_number=6, hour=3)
    pipeline.send([b"two\nlines"], hour=4)
    pipeline.send(numbered(7, "second"), partition=1)
    pipeline.send(numbered(3, "later"), day=next_day())
    pipeline.send(numbered(2, "last"), day=next_day(next_day()))
    held = [*numbered(4, "next"), b"two", b"lines", *numbered(7, "second")]
    pipeline.put(FIRST, content(held))
    pipeline.put(SECOND, content(numbered(3, "later")), day=next_day())
    pipeline.read_as_profile_memory({0: 20, 1: 7})
    assert still_missing(pipeline.hdfs, pipeline.settings, next_day()) == ""
    assert seal(pipeline.settings, next_day()).lines == 3
    day, later = chain(pipeline)[1:]
    assert (day.kind, day.first, day.next, day.repeats, day.day) == ("memory", 5, 15, 5, "26-03-10")
    assert (day.marks["a"].number, day.marks["a"].digest.lines, day.replays["a"].lines) == (9, 9, 4)
    assert (later.first, later.next, later.totals.memory.lines, later.totals.records) == (15, 18, 8, 18)
    sealed = seal(pipeline.settings, DAY)
    assert (sealed.lines, sealed.unconfirmed, sealed.memory_files) == (17, "", (FIRST,))
    assert pipeline.lines() == Counter([*numbered(5, "durable"), *held])
    assert pipeline.lines(next_day()) == Counter(numbered(3, "later"))
    assert pipeline.aside() == pipeline.aside(next_day()) == []


def test_a_day_that_memory_has_not_read_to_its_end_is_not_over(pipeline):
    pipeline.send(numbered(5))
    pipeline.read_as_profile_memory({0: 4})
    with pytest.raises(NotOverError, match="partition 0: 1 records before offset 5"):
        seal(pipeline.settings, DAY)
    assert pipeline.names(pipeline.root) == []


def test_a_day_is_not_over_while_memory_has_a_file_of_it_open(pipeline):
    pipeline.send(numbered(5))
    pipeline.read_as_profile_memory({0: 5})
    path = pipeline.put(f"_{FIRST}.tmp", content(numbered(5)))
    with pytest.raises(NotOverError, match=f"_{FIRST}.tmp open"):
        seal(pipeline.settings, DAY)
    pipeline.hdfs.rename(path, f"{pipeline.folder()}/{FIRST}")
    assert seal(pipeline.settings, DAY).lines == 5


def test_what_retention_took_before_memory_read_it_is_told(pipeline):
    pipeline.send(numbered(9))
    pipeline.forget_before(0, 4)
    pipeline.read_as_profile_memory({0: 9})
    sealed = seal(pipeline.settings, DAY)
    assert (sealed.lines, sealed.expired) == (5, 4)
    assert [link.kind for link in chain(pipeline)] == ["memory"], "the link of what expired went with the day"


def test_a_sealing_killed_behind_a_memory_link_is_finished_by_the_next(pipeline):
    pipeline.send(numbered(300), replay="a")
    for number in range(250):
        pipeline.send([b"short"], replay=f"a-long-name-of-a-replay-{number:03d}", partition=1)
    pipeline.read_as_profile_memory({0: 300, 1: 250})
    assert pipeline.run_program(die_at="memory-linked")[0] == -signal.SIGKILL
    status, report, log = pipeline.run_program()
    assert (status, report["lines"]) == (0, 550), log
    assert chain(pipeline, 1)[0].marks.keys() >= {"a-long-name-of-a-replay-249"}, (
        "more than an attribute holds"
    )


def test_of_two_that_link_at_once_one_comes_first(pipeline):
    """The other one is agent 2 of profile durable, which has just been started."""
    pipeline.send(numbered(5), hour=1)
    pipeline.send(numbered(5, "second"), partition=1)
    pipeline.link(2, partition=1)
    pipeline.read_as_profile_memory({0: 5, 1: 5})

    def agent_2(step: str) -> None:
        if step == "memory-linked":
            pipeline.link(5, partition=1, kind="memory")

    assert seal(pipeline.settings, DAY, reached=agent_2).lines == 10
    assert [len(chain(pipeline, partition)) for partition in (0, 1)] == [1, 1], "the newest link of each"


def test_a_clock_that_steps_back_over_midnight_takes_no_line_with_it(pipeline):
    """Kafka's times step; a chain's day never does: what comes behind midnight stays behind it."""
    pipeline.send(numbered(3, "evening"), hour=23)
    pipeline.send(numbered(3, "too early"), day=next_day(), hour=2)
    pipeline.send(numbered(3, "set back"), hour=22)
    pipeline.send(numbered(3, "morning"), day=next_day(), hour=8)
    pipeline.read_as_profile_memory({0: 12})
    assert seal(pipeline.settings, DAY).lines == 3
    assert seal(pipeline.settings, next_day()).lines == 9
    assert pipeline.lines() == Counter(numbered(3, "evening"))
    later = [*numbered(3, "too early"), *numbered(3, "set back"), *numbered(3, "morning")]
    assert pipeline.lines(next_day()) == Counter(later)
