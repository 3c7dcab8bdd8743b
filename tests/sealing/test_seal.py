"""A day that is over becomes few files with a manifest; nothing else changes a line."""

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from logpipe.accounting.chain import ChainError
from logpipe.contracts.chain import FLOOR_ATTRIBUTE
from logpipe.digest import Digest
from logpipe.sealing.over import NotOverError
from logpipe.sealing.rewrite import LinesGoneError
from logpipe.sealing.seal import seal
from tests.sealing.chain_writer import DAY, Pipeline, next_day

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ODD = [b"", b"plain", b"caf\xe9", b"\xff\xfe", b"nul \x00", b"cr\r", b"plain", b"x" * 70_000]


def numbered(count: int, word: str = "line") -> list[bytes]:
    return [f"{word} {number}".encode() for number in range(1, count + 1)]


def full_day(pipeline: Pipeline) -> Counter[bytes]:
    """A day in two partitions and five ranges, with repeats, foreign keys and a line end inside a record."""
    pipeline.send(numbered(50), replay="a")
    pipeline.send(numbered(10), replay="a")  # repeats
    pipeline.send(ODD)
    pipeline.send([b"foreign"], keys=[b"1_0"])
    pipeline.send(numbered(40, "other"), partition=1, replay="b")
    pipeline.send([b"two\nlines"], partition=1)
    pipeline.link(20)
    pipeline.link(55)
    pipeline.link(69)
    pipeline.link(30, partition=1)
    pipeline.link(41, partition=1)
    return (
        Counter(numbered(50))
        + Counter(ODD)
        + Counter(numbered(40, "other"))
        + Counter([b"foreign", b"two", b"lines"])
    )


def test_a_day_becomes_few_files_with_a_manifest(pipeline):
    expected = full_day(pipeline)
    assert seal(pipeline.settings, DAY, target_bytes=1_000) is not None
    assert pipeline.lines() == expected
    manifest = pipeline.manifest()
    names = [row["name"] for row in manifest["files"]]
    assert names == [f"apache_logs-{number}.log" for number in range(1, len(names) + 1)]
    assert sorted(pipeline.names(pipeline.folder())) == sorted(["_SUCCESS", "_manifest.json", *names])
    assert 1 < len(names) < 5
    assert manifest["lines"] == sum(expected.values()) - 1, "a record is a line, whatever is in it"
    assert (manifest["repeats"], manifest["foreign"], manifest["expired"]) == (10, 1, 0)
    assert {replay: row[0] for replay, row in manifest["replays"].items()} == {"a": 50, "b": 40}
    for row in manifest["files"]:
        content = pipeline.hdfs.read(f"{pipeline.folder()}/{row['name']}")
        digest = Digest.of(content.split(b"\n")[:-1])
        assert row["digest"] == [digest.lines, digest.size_bytes, f"{digest.hash_sum:016x}"]
        assert row["length_bytes"] == len(content)
    assert pipeline.sealed().to_json() == manifest
    assert pipeline.names(f"{pipeline.root}/_sealing") == []
    before = pipeline.hdfs.list(pipeline.folder())
    seal(pipeline.settings, DAY)
    assert pipeline.hdfs.list(pipeline.folder()) == before, "a second time changes nothing"


def test_links_of_a_sealed_day_go_and_leave_a_floor(pipeline):
    full_day(pipeline)
    pipeline.send(numbered(5, "later"), day=next_day())
    newest = pipeline.link(74)
    folder = pipeline.chain_folder(0)
    pipeline.hdfs.write(f"{folder}/_open-000000-{20:019d}-26-03-10-0123abcd", b"")
    seal(pipeline.settings, DAY)
    floor = f"000000-{55:019d}"
    assert pipeline.hdfs.attribute(folder, FLOOR_ATTRIBUTE) == floor.encode()
    assert pipeline.names(folder) == [floor, newest.name], "the open link before the floor is gone too"
    assert pipeline.links(1) == [f"000000-{30:019d}"], "the newest link of an idle partition stays"
    pipeline.send([b"end"], day=next_day(next_day()))
    pipeline.link(75)
    seal(pipeline.settings, next_day())
    assert pipeline.lines(next_day()) == Counter(numbered(5, "later"))
    assert pipeline.links() == [newest.name, f"000000-{74:019d}"]


def test_side_files_of_links_that_go_go_with_them(pipeline):
    pipeline.send(numbered(30), replay="a")
    pipeline.link(10, side=True)
    pipeline.link(20, side=True)
    pipeline.link(30, side=True)
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(numbered(30))
    names = pipeline.names(pipeline.chain_folder(0))
    assert [name for name in names if not name.startswith("side-")] == [f"000000-{20:019d}"]
    assert len(names) == 2


def test_a_day_is_not_over_before_every_chain_has_passed_its_midnight(pipeline):
    pipeline.send(numbered(5))
    pipeline.send(numbered(5), partition=1)
    pipeline.link(5)
    before = pipeline.hdfs.list(pipeline.folder())
    with pytest.raises(NotOverError, match="partition 1: 5 records before offset 5"):
        seal(pipeline.settings, DAY)
    assert pipeline.hdfs.list(pipeline.folder()) == before
    pipeline.send([b"tomorrow"], day=next_day(), partition=1)
    pipeline.link(5, partition=1)
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(numbered(5) * 2), "what came after midnight is not waited for"


def test_today_is_not_over(pipeline):
    with pytest.raises(NotOverError, match="ends at"):
        seal(pipeline.settings, datetime.now(UTC).date())


def test_a_day_without_lines_is_nothing_to_do(pipeline):
    assert seal(pipeline.settings, DAY) is None
    assert pipeline.names(pipeline.root) == []


def test_retention_on_an_idle_topic_is_no_failure(pipeline):
    pipeline.send(numbered(5))
    pipeline.link(5)
    pipeline.forget_before(0, 5)
    assert seal(pipeline.settings, DAY).lines == 5
    assert seal(pipeline.settings, next_day()) is None
    assert pipeline.lines() == Counter(numbered(5))


def test_what_retention_took_is_told(pipeline):
    pipeline.send(numbered(9))
    pipeline.link(3, kind="expired")
    pipeline.link(9)
    assert seal(pipeline.settings, DAY).expired == 3
    assert pipeline.lines() == Counter(numbered(9)[3:])


def test_a_file_whose_writer_died_before_its_rename_is_taken(pipeline):
    pipeline.send(numbered(9))
    pipeline.link(4)
    pipeline.link(9, stop_at="rename")
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(numbered(9))


def test_files_that_no_link_knows_are_put_aside_and_dead_writers_are_not(pipeline):
    pipeline.send(numbered(9))
    pipeline.link(9)
    pipeline.put("part-00000", b"somebody's\n")
    pipeline.put(f"apache_logs-0-0-{77:019d}.log", b"no link\n")
    pipeline.put(f"_apache_logs-0-0-{9:019d}.0123abcd.tmp", b"dead\n")
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(numbered(9))
    assert pipeline.aside() == [f"apache_logs-0-0-{77:019d}.log", "part-00000"]


def test_a_damaged_and_a_missing_file_are_written_again_first(pipeline):
    expected = full_day(pipeline)
    links = pipeline.names(pipeline.folder())
    content = pipeline.hdfs.read(f"{pipeline.folder()}/{links[1]}")
    pipeline.put(links[1], content.replace(b"line 3", b"LINE 3"))
    pipeline.hdfs.delete(f"{pipeline.folder()}/{links[-1]}")
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == expected
    assert pipeline.aside() == [links[1]]


def test_damage_that_the_topic_cannot_mend_leaves_the_day_as_it_is(pipeline):
    pipeline.send(numbered(9))
    made = pipeline.link(9)
    pipeline.hdfs.delete(pipeline.file_of(made))
    pipeline.forget_before(0, 5)
    with pytest.raises(LinesGoneError, match=made.file_name):
        seal(pipeline.settings, DAY)
    assert pipeline.sealed() is None
    assert pipeline.links() == [made.name]


def test_a_missing_link_is_an_error(pipeline):
    pipeline.send(numbered(9))
    made = pipeline.link(3)
    pipeline.link(5)
    pipeline.link(9)
    pipeline.hdfs.delete(f"{pipeline.chain_folder(0)}/000000-{3:019d}")
    with pytest.raises(ChainError, match=made.name):
        seal(pipeline.settings, DAY)


def test_a_day_with_two_topics_is_sealed_and_each_epoch_apart(pipeline):
    pipeline.send(numbered(4))
    made = pipeline.link(4)
    pipeline.end(made, next=0, topic_id="another")
    pipeline.kafka.delete_topic(pipeline.settings.topic)
    pipeline.make_topic()
    pipeline.send(numbered(3, "new"))
    pipeline.link(3)
    sealed = seal(pipeline.settings, DAY)
    assert [(part.epoch, len(part.members)) for part in sealed.parts] == [(0, 1), (1, 1)]
    assert pipeline.lines() == Counter(numbered(4) + numbered(3, "new"))


def test_a_topic_made_anew_is_not_over_by_the_offsets_of_the_one_before(pipeline):
    pipeline.send(numbered(9))
    pipeline.link(9)
    pipeline.kafka.delete_topic(pipeline.settings.topic)
    pipeline.make_topic()
    pipeline.send(numbered(3, "new"))
    with pytest.raises(NotOverError, match="partition 0: 3 records before offset 3"):
        seal(pipeline.settings, DAY)


def test_a_day_that_goes_on_by_the_agents_zone_is_not_sealed(pipeline):
    pipeline.send(numbered(3), hour=22)
    pipeline.link(3)
    elsewhere = pipeline.settings.model_copy(update={"timezone": "Etc/GMT-3"})
    with pytest.raises(ChainError, match=r"has lines of 26-03-11 by LOGPIPE_TIMEZONE=Etc/GMT-3"):
        seal(elsewhere, DAY)
    assert pipeline.sealed() is None
    assert seal(pipeline.settings, DAY).lines == 3


def test_days_are_those_of_the_zone(pipeline_in):
    pipeline = pipeline_in("GMT+05:45")
    yesterday = DAY - timedelta(days=1)
    pipeline.send(numbered(3), day=DAY, hour=0)  # 18:15 UTC of the day before
    pipeline.link(3)
    assert seal(pipeline.settings, yesterday) is None
    assert seal(pipeline.settings, DAY).lines == 3
    assert pipeline.lines(DAY) == Counter(numbered(3))


STEPS = (
    "file-1", "merged", "committed", "old-out", "new-in", "looked-through", "exchanged", "floor-raised",
    "opens-deleted", "links-deleted",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_sealing_killed_at_a_step_is_finished_by_the_next(pipeline, step):
    expected = full_day(pipeline)
    pipeline.put("part-00000", b"somebody's\n")
    pipeline.put(f"_apache_logs-0-0-{69:019d}.0123abcd.tmp", b"dead\n")
    status, _, log = pipeline.run_program(die_at=step)
    assert status == -signal.SIGKILL, log
    status, report, log = pipeline.run_program()
    assert (status, report["status"], report["lines"]) == (0, "sealed", sum(expected.values()) - 1), log
    assert pipeline.lines() == expected
    assert "_SUCCESS" in pipeline.names(pipeline.folder())
    assert pipeline.aside() == ["part-00000"]
    assert pipeline.names(f"{pipeline.root}/_sealing") == []
    assert (pipeline.links(0), pipeline.links(1)) == ([f"000000-{55:019d}"], [f"000000-{30:019d}"])


@pytest.mark.parametrize("step", ["range-written", "range-in-place"])
def test_a_sealing_killed_while_it_mends_is_finished_by_the_next(pipeline, step):
    expected = full_day(pipeline)
    damaged = pipeline.names(pipeline.folder())[0]
    pipeline.put(damaged, b"rubbish\n")
    assert pipeline.run_program(die_at=step)[0] == -signal.SIGKILL
    assert pipeline.run_program()[0] == 0
    assert pipeline.lines() == expected
    assert pipeline.aside() == [damaged]


def test_a_sealing_that_slept_over_the_commit_of_another_changes_nothing(pipeline):
    """The other one seals, exchanges and prunes while this one is about to commit."""
    expected = full_day(pipeline)

    def the_other_one(step: str) -> None:
        if step == "merged":
            seal(pipeline.settings, DAY)

    seal(pipeline.settings, DAY, target_bytes=1_000, reached=the_other_one)
    assert pipeline.lines() == expected
    assert len(pipeline.manifest()["files"]) == 1, "the first to commit has won"
    assert pipeline.names(f"{pipeline.root}/_sealing") == []


@pytest.mark.parametrize(
    "step", ["committed", "old-out", "new-in", "looked-through", "floor-raised", "opens-deleted"]
)
def test_two_that_exchange_at_once_are_harmless(pipeline, step):
    expected = full_day(pipeline)
    pipeline.put("part-00000", b"somebody's\n")

    def the_other_one(at: str) -> None:
        if at == step:
            seal(pipeline.settings, DAY)

    seal(pipeline.settings, DAY, reached=the_other_one)
    assert pipeline.lines() == expected
    assert pipeline.aside() == ["part-00000"]


def test_what_comes_while_the_day_has_no_folder_is_put_aside(pipeline):
    expected = full_day(pipeline)

    def a_stranger(step: str) -> None:
        if step == "old-out" and "stray" not in pipeline.aside():
            pipeline.put("stray", b"rubbish\n")

    seal(pipeline.settings, DAY, reached=a_stranger)
    assert pipeline.lines() == expected
    assert pipeline.aside() == ["stray"]


def test_the_program_tells_how_a_day_stands(pipeline):
    status, report, _ = pipeline.run_program(None, stdin="2026-03-10\n")
    assert (status, report["status"]) == (0, "empty")
    pipeline.send(numbered(3))
    status, report, _ = pipeline.run_program()
    assert (status, report["status"]) == (3, "not_over")
    assert "3 records before offset 3" in report["reason"]
    status, report, _ = pipeline.run_program(None, stdin="")
    assert (status, report["status"]) == (1, "error"), "it does not wait for ever for a date"
