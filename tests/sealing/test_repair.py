"""Files on HDFS that are missing, damaged or foreign: mended from the topic, while lines arrive."""

import signal
import threading
from collections import Counter

import pytest

from logpipe.sealing.lock import LockedError, alone
from logpipe.sealing.repair import repair
from logpipe.sealing.seal import seal
from tests.sealing.chain_writer import DAY, Pipeline, next_day
from tests.sealing.test_seal import full_day, numbered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def damage(pipeline: Pipeline, name: str) -> None:
    """Other bytes, the same length."""
    content = bytearray(pipeline.hdfs.read(f"{pipeline.folder()}/{name}"))
    at = next(at for at, byte in enumerate(content) if byte != ord("\n"))
    content[at] ^= 1 << 6
    pipeline.put(name, bytes(content))


def sealed_day(pipeline: Pipeline) -> Counter[bytes]:
    expected = full_day(pipeline)
    seal(pipeline.settings, DAY, target_bytes=1_000)
    return expected


def test_ranges_of_a_day_under_way_are_written_again(pipeline):
    expected = full_day(pipeline)
    names = pipeline.names(pipeline.folder())
    damage(pipeline, names[2])  # it begins with repeats, which the marks of the link before tell
    pipeline.hdfs.delete(f"{pipeline.folder()}/{names[4]}")
    pipeline.put("part-00000", b"somebody's\n")
    in_use = f"_apache_logs-0-0-{69:019d}.0123abcd.tmp"
    pipeline.put(in_use, b"being written\n")
    pipeline.put("apache_logs.1742000000000.log", b"of profile memory, not linked yet\n")
    outcome = repair(pipeline.settings)
    assert outcome.failed == []
    assert len(outcome.done) == 3, outcome.done
    assert pipeline.aside() == [names[2], "part-00000"]
    assert in_use in pipeline.names(pipeline.folder())
    pipeline.hdfs.delete(f"{pipeline.folder()}/apache_logs.1742000000000.log")
    assert pipeline.lines() == expected
    assert repair(pipeline.settings).done == []


def test_the_file_of_a_writer_that_died_before_its_rename_is_not_written_again(pipeline):
    pipeline.send(numbered(9))
    made = pipeline.link(9, stop_at="rename")
    assert repair(pipeline.settings).done == []
    assert pipeline.names(pipeline.folder()) == [made.file_name]


def test_a_day_whose_folder_is_gone_is_written_again(pipeline):
    expected = full_day(pipeline)
    pipeline.hdfs.delete(pipeline.folder())
    assert repair(pipeline.settings).failed == []
    assert pipeline.lines() == expected


def test_a_sealed_day_whose_folder_is_gone_is_written_again(pipeline):
    expected = sealed_day(pipeline)
    before = [(entry.name, entry.length_bytes) for entry in pipeline.hdfs.list(pipeline.folder())]
    manifest = pipeline.manifest()
    pipeline.hdfs.delete(pipeline.folder())
    assert repair(pipeline.settings).failed == []
    assert pipeline.lines() == expected
    assert [(entry.name, entry.length_bytes) for entry in pipeline.hdfs.list(pipeline.folder())] == before
    assert pipeline.manifest() == manifest


@pytest.mark.parametrize("at", [0, 1, -1])
def test_a_damaged_file_of_a_sealed_day_is_written_again_when_the_day_is_asked_for(pipeline, at):
    expected = sealed_day(pipeline)
    name = pipeline.manifest()["files"][at]["name"]
    damage(pipeline, name)
    pipeline.put("part-00000", b"somebody's\n")
    assert len(repair(pipeline.settings, DAY).done) == 2
    assert pipeline.lines() == expected
    assert pipeline.aside() == [name, "part-00000"]


def test_repeats_before_a_sealed_day_are_known_from_its_manifest(pipeline):
    """The day's first records repeat lines of the day before, whose links are gone."""
    pipeline.send(numbered(5), replay="a")
    pipeline.link(5)
    pipeline.send(numbered(5), replay="a", day=next_day())
    pipeline.send([b"new"], replay="a", first_number=6, day=next_day())
    pipeline.link(11)
    seal(pipeline.settings, DAY)
    seal(pipeline.settings, next_day())
    pipeline.hdfs.delete(pipeline.folder(next_day()))
    assert repair(pipeline.settings).failed == []
    assert pipeline.lines(next_day()) == Counter([b"new"])


def test_what_the_topic_cannot_mend_is_told_and_the_rest_is_mended(pipeline):
    full_day(pipeline)
    names = pipeline.names(pipeline.folder())
    pipeline.hdfs.delete(f"{pipeline.folder()}/{names[0]}")
    damage(pipeline, names[3])
    pipeline.forget_before(0, 10)
    outcome = repair(pipeline.settings, DAY)
    assert names[0] in outcome.failed[0]
    assert "offsets 0 to 20 are not there" in outcome.failed[0]
    assert pipeline.names(pipeline.folder()) == names[1:]


def test_a_topic_made_anew_is_not_taken_for_the_one_before(pipeline):
    pipeline.send(numbered(5))
    made = pipeline.link(5)
    pipeline.kafka.delete_topic(pipeline.settings.topic)
    pipeline.make_topic()
    pipeline.send(numbered(5, "other"))
    pipeline.hdfs.delete(pipeline.file_of(made))
    assert "is another one now" in repair(pipeline.settings, DAY).failed[0]
    assert pipeline.names(pipeline.folder()) == []


@pytest.mark.parametrize("step", ["range-written", "range-in-place"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_repair_killed_at_a_step_is_done_by_the_next(pipeline, step, is_sealed):
    expected = sealed_day(pipeline) if is_sealed else full_day(pipeline)
    names = [name for name in pipeline.names(pipeline.folder()) if name.startswith("apache_logs")]
    damage(pipeline, names[0])
    pipeline.hdfs.delete(f"{pipeline.folder()}/{names[1]}")
    assert pipeline.repair_and_die(step) == -signal.SIGKILL
    assert repair(pipeline.settings, DAY).failed == []
    assert pipeline.lines() == expected
    assert pipeline.aside() == [names[0]]


def test_lines_that_arrive_meanwhile_are_left_alone(pipeline):
    expected = full_day(pipeline)
    damage(pipeline, pipeline.names(pipeline.folder())[0])
    pipeline.send(numbered(200, "live"), partition=1)

    def write() -> None:
        for end in range(51, 242, 10):
            pipeline.link(end, partition=1)

    writer = threading.Thread(target=write)
    writer.start()
    outcomes = [repair(pipeline.settings, DAY)]
    while writer.is_alive():
        outcomes.append(repair(pipeline.settings, DAY))
    writer.join()
    assert [outcome.failed for outcome in outcomes] == [[]] * len(outcomes)
    assert sum(len(outcome.done) for outcome in outcomes) == 1
    assert pipeline.lines() == expected + Counter(numbered(200, "live"))


def test_one_repair_at_a_time(pipeline):
    with (
        alone(pipeline.settings, "a repair"),
        pytest.raises(LockedError, match=r"process \d+ does a repair since"),
    ):
        repair(pipeline.settings)
    assert repair(pipeline.settings).done == []
