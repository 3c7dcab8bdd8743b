"""Each kind of damage, repaired against a real topic and real HDFS."""

from collections import Counter

import pytest
from tests.reconcile.harness import DAY_AFTER, DAY_BEFORE, Pipeline

from logpipe.digest import Digest

pytestmark = pytest.mark.integration

LINES = [b"line %d" % number for number in range(1000)]


@pytest.fixture
def logs(pipeline) -> Pipeline:
    return pipeline()


def test_missing_lines_are_written_and_the_set_is_marked(logs: Pipeline) -> None:
    logs.send(LINES[:600], partition=0)
    logs.send(LINES[600:], partition=2)
    logs.commit_all()
    logs.put_lines(LINES[:250])

    report = logs.run()

    assert report.to_json()["repaired"]["missing_written"] == 750
    assert logs.lines() == LINES, "in the order of partition and offset"
    manifest = logs.manifest()
    assert Digest.from_json(manifest) == Digest.of(LINES)
    assert [Digest.from_json(file) for file in manifest["files"]] == [Digest.of(LINES)]
    assert manifest["offsets"] == {"0": [0, 600], "1": [0, 0], "2": [0, 400]}
    assert "_SUCCESS" in logs.names()
    assert logs.leftovers() == []


def test_surplus_lines_are_removed(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put_lines([*LINES[:500], b"never sent"])
    logs.put_lines(LINES[400:], name="apache_logs-2.1.log")

    report = logs.run().to_json()

    assert report["repaired"]["surplus_removed"] == 101
    assert logs.lines() == LINES


def test_a_second_run_changes_nothing(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put_lines(LINES[1:])
    assert logs.run().to_json()["changed"]
    before = logs.snapshot()

    assert not logs.run().to_json()["changed"]
    assert logs.snapshot() == before

    assert not logs.run(full=True).to_json()["changed"]
    assert [entry[:2] for entry in logs.snapshot() if "apache_logs-" in entry[0]] == [
        entry[:2] for entry in before if "apache_logs-" in entry[0]
    ]


def test_equal_sets_are_marked_and_left(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put_lines(LINES[::-1])

    assert not logs.run().to_json()["changed"]
    assert logs.log_names() == ["apache_logs-1.1.log"]
    assert logs.manifest()["lines"] == 1000
    assert "_SUCCESS" in logs.names()


def test_many_small_files_are_merged(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    for number in range(10):
        logs.put_lines(LINES[number * 100 :][:100], name=f"apache_logs-1.{number}.log")

    report = logs.run().to_json()

    assert report["repaired"]["merged_files"] == 10
    assert logs.lines() == LINES
    assert len(logs.log_names()) == 1


def test_lines_in_the_next_days_directory_come_home(logs: Pipeline) -> None:
    today = [b"day %d" % number for number in range(300)]
    logs.send(LINES)
    logs.send(today, day=DAY_AFTER)
    logs.commit_all()
    logs.put_lines(LINES[:900])
    logs.put_lines([*LINES[900:], *today], day=DAY_AFTER)

    report = logs.run().to_json()

    assert report["repaired"]["moved_home"] == 100
    assert report["neighbours"]["26-03-11"]["repaired"]["surplus_removed"] == 100
    assert logs.lines() == LINES
    assert logs.lines(DAY_AFTER) == today


def test_lines_of_the_day_before_go_home_before_they_are_removed(logs: Pipeline) -> None:
    logs.send(LINES, day=DAY_BEFORE)
    logs.send([b"a", b"b"])
    logs.commit_all()
    logs.put_lines(LINES[:990], day=DAY_BEFORE)
    logs.put_lines([*LINES[990:], b"a", b"b"])

    report = logs.run().to_json()

    assert report["neighbours"]["26-03-09"]["repaired"]["moved_home"] == 10
    assert logs.lines(DAY_BEFORE) == LINES
    assert logs.lines() == [b"a", b"b"]


def test_a_day_whose_directory_was_never_made(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put_lines(LINES, day=DAY_AFTER)

    logs.run()

    assert logs.lines() == LINES
    assert logs.lines(DAY_AFTER) == []


def test_repeats_in_the_topic_count_once_in_the_day_of_the_first(logs: Pipeline) -> None:
    keys = [f"replay-1:{number}" for number in range(1, 101)]
    logs.send(LINES[:100], keys=keys, hour=23)
    logs.send(LINES[80:100], keys=keys[80:], hour=23)
    logs.send(LINES[60:100], keys=keys[60:], day=DAY_AFTER, hour=0)
    logs.send([b"new"], keys=["replay-1:101"], day=DAY_AFTER, hour=1)
    logs.send([b"same", b"same"], partition=1)  # without identity: both count
    logs.commit_all()
    logs.put_lines([*LINES[:100], *LINES[80:100], b"same", b"same"])
    logs.put_lines([*LINES[60:100], b"new"], day=DAY_AFTER)

    report = logs.run().to_json()

    assert report["topic_repeats"] == 20
    assert Counter(logs.lines()) == Counter([*LINES[:100], b"same", b"same"])
    logs.run(date=DAY_AFTER)
    assert logs.lines(DAY_AFTER) == [b"new"]


def test_every_byte_survives(logs: Pipeline) -> None:
    lines = [
        b"", b"\r", b"crlf\r", b"\x00nul\x00", b"\xe9t\xe9 latin-1", b"\xff\xfe\x80 invalid \xc3",
        b"\x1b[31mred",
        b"\xe2\x80\xa8 separator \xc2\x85 next \x0b\x0c", b"\xef\xbb\xbfmark inside", b"trailing ", b" \t",
        *[bytes([byte]) * 3 for byte in range(256) if byte != 10], *[b"same"] * 500,
        b"x" * 511, b"x" * 512, b"x" * 513, bytes(range(11, 256)) * 280, b"y" * (1 << 20), b"",
    ]  # fmt: skip
    logs.send(lines)
    logs.commit_all()
    logs.put_lines(lines[::2])

    logs.run()

    assert logs.lines() == lines
    assert Digest.from_json(logs.manifest()) == Digest.of(lines)


def test_a_byte_order_mark_at_a_files_start_is_part_of_its_line(logs: Pipeline) -> None:
    lines = [b"\xef\xbb\xbffirst", b"second", b"\xef\xbb\xbf"]
    logs.send(lines)
    logs.commit_all()
    logs.put_lines(lines)

    assert not logs.run().to_json()["changed"]

    logs.put_lines([b"\xef\xbb\xbf"], name="apache_logs-2.1.log")
    assert logs.run().to_json()["repaired"]["surplus_removed"] == 1
    assert logs.lines() == lines


def test_a_record_with_a_line_end_inside_is_two_lines(logs: Pipeline) -> None:
    logs.send([b"one\ntw\xff", b"three", b"\n"])
    logs.commit_all()
    logs.put_lines([b"one", b"three"])

    assert logs.run().to_json()["repaired"]["missing_written"] == 3
    assert logs.lines() == [b"one", b"tw\xff", b"three", b"", b""]
    assert not logs.run(full=True).to_json()["changed"]


def test_a_half_line_is_mended(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put("apache_logs-1.1.log", b"".join(line + b"\n" for line in LINES[:-1]) + LINES[-1][:3])

    report = logs.run().to_json()

    assert report["repaired"]["half_lines_mended"] == 1
    assert report["repaired"]["surplus_removed"] == 0
    assert logs.lines() == LINES


def test_large_days_get_several_files(logs: Pipeline) -> None:
    lines = [b"%06d " % number + b"x" * 500 for number in range(6000)]
    logs.send(lines[:4000])
    logs.send(lines[4000:], partition=1)
    logs.commit_all()

    logs.run(target_file_mb=1)

    assert logs.lines() == lines
    sizes = [file["size_bytes"] for file in logs.manifest()["files"]]
    assert len(sizes) == 3
    assert max(sizes) <= 1.1 * 2**20
