"""Verify against a real topic and a real HDFS whose chains are written as agent 2 would."""

import json
from contextlib import closing
from dataclasses import replace

import pytest

from logpipe.accounting.chain import own
from logpipe.accounting.days import DaysReader
from logpipe.accounting.verify import chain_reader, seal_replays
from logpipe.contracts.chain import FLOOR_ATTRIBUTE, Link, Totals
from logpipe.contracts.sealed import SealedFile
from logpipe.digest import Digest
from logpipe.replayer.sums import Sums
from tests.accounting.pipeline import DAY, Pipeline, nasa_lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = nasa_lines(4_000)


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    """A replay that arrived everywhere."""
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    pipeline.write()
    pipeline.count()
    return pipeline


def test_a_replay_that_arrived_is_equal_and_sealed(whole: Pipeline) -> None:
    found = whole.exact()
    assert found.to_json() == {
        "source": 4000, "topic": 4000, "hdfs": 4000, "windows": 4000, "lost": 0, "doubled": 0, "in_flight": 0,
        "unknown": 0,
    }  # fmt: skip
    asked: list[str] = []
    assert seal_replays(found, lambda replay: not asked.append(replay)) == ["a"]
    whole.record("a", LINES, sealed_at="2026-03-11T00:00:00+00:00")
    assert whole.exact().sealable == ()


def test_a_replayer_that_is_away_seals_nothing_and_hurts_nothing(whole: Pipeline) -> None:
    def away(_: str) -> bool:
        raise ConnectionError

    assert seal_replays(whole.exact(), away) == []


def test_lost_is_said_of_a_topic_whatever_letters_its_id_has(pipeline: Pipeline) -> None:
    """librdkafka writes an id with + and / where agent 2 has - and _; half of all ids have one."""
    while not {"-", "_"} & set(pipeline.topic_id):
        pipeline.make_topic()
    pipeline.send("a", LINES[:3000])
    pipeline.record("a", LINES)
    pipeline.write()
    pipeline.count()
    found = pipeline.verify()
    assert (found.lost, found.in_flight) == (1000, 0)


def test_lines_on_their_way_are_in_flight_and_not_lost(pipeline: Pipeline) -> None:
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    assert pipeline.exact().in_flight == 4_000
    pipeline.write(until=[500, 0, 0])
    pipeline.write(until=[900, 0, 0], is_open=True)
    found = pipeline.exact()
    assert (found.hdfs, found.topic, found.in_flight) == (900, 4_000, 4_000)  # the windows have none
    pipeline.count()
    assert pipeline.exact().in_flight == 3_100
    pipeline.write()
    assert pipeline.exact().in_flight == 0


def test_a_line_that_was_acknowledged_and_never_came_is_lost(pipeline: Pipeline) -> None:
    pipeline.send("a", LINES[:-1])
    pipeline.record("a", LINES)
    pipeline.write(until=[1000, 1000, 1000])
    pipeline.count()
    found = pipeline.verify()
    assert (found.lost, found.doubled, found.in_flight, found.ok) == (
        1,
        0,
        999,
        False,
    )  # one partition is behind
    pipeline.write()
    assert (pipeline.verify().lost, pipeline.verify().in_flight) == (1, 0)


def test_repeats_foreign_keys_and_other_clients(whole: Pipeline) -> None:
    whole.send("a", LINES[:1_000])  # sent again
    whole.produce(
        [(0, b"abc", b"foreign"), (1, None, b"of netcat"), (2, b"1_0:1_0", b"x"), (2, b"a:99999999999", b"y")]
    )
    whole.write()
    whole.count()
    found = whole.exact()
    assert (found.source, found.topic, found.hdfs, found.windows) == (4_000, 4_004, 4_004, 4_004)
    told = "\n".join(found.details)
    assert "1,000 repeated records" in told
    assert "3 records of other clients" in told
    assert "1 lines without identity" in told


def test_a_missing_a_short_and_a_surplus_file_are_told(whole: Pipeline) -> None:
    first, second, _ = whole.links
    whole.hdfs.delete(whole.path(first))
    found = whole.verify()
    assert (found.lost, found.hdfs, found.ok) == (first.digest.lines, 4_000 - first.digest.lines, False)
    assert f"make repair DATE=20{DAY}" in found.problems[0]

    whole.hdfs.write(whole.path(second), b"short\n", overwrite=True)
    assert any("its link says" in text for text in whole.verify().problems)

    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-1-0-{7:019d}.log", b"surplus\n")
    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-copy.log", b"surplus\n")
    assert sum("is in no link" in text for text in whole.verify().problems) == 2


def test_a_file_that_is_linked_and_not_yet_renamed_is_there(whole: Pipeline) -> None:
    link = whole.links[0]
    in_use = f"_apache_logs-{link.partition}-{link.epoch}-{link.first:019d}.{link.attempt}.tmp"
    whole.hdfs.rename(whole.path(link), f"{whole.logs}/{DAY}/{in_use}")
    whole.exact()


def test_a_gap_in_the_chain_is_told(whole: Pipeline) -> None:
    whole.send("a", nasa_lines(3_000, 1), first=4_001)
    whole.record("a", LINES + nasa_lines(3_000, 1))
    whole.write()
    whole.count()
    whole.exact()
    gone = whole.links[0]
    whole.hdfs.delete(f"{whole.logs}/_chain/{gone.partition}/{gone.name}")
    assert any("no floor says" in text for text in whole.verify().problems)


@pytest.fixture
def long(pipeline: Pipeline) -> Pipeline:
    """Five ranges a partition; of the first one retention took what comes after the second."""
    for number in range(5):
        lines = nasa_lines(3_000, number)
        pipeline.send("a", lines, first=number * 3_000 + 1)
        if number == 2:
            head = pipeline.head(0)
            assert head is not None
            expired = replace(head, kind="expired", first=head.next, next=head.next + 100, attempt="0" * 8)
            pipeline.put(replace(expired, totals=head.totals + own(expired)))
        pipeline.write()
    everything = [line for number in range(5) for line in nasa_lines(3_000, number)]
    pipeline.record("a", everything)
    pipeline.count()
    return pipeline


def test_links_whose_files_are_as_long_as_the_sums_say_are_not_read(long: Pipeline) -> None:
    assert (long.verify().lost, long.verify().problems) == (100, ())  # what retention took
    with closing(chain_reader(long.settings)) as reader:
        chains = DaysReader(reader).read(reader.chains()).chains
        assert [len(chain.links) for chain in chains.values()] == [3, 2, 2]
        assert [len(chain.links) for chain in reader.with_links(chains).values()] == [6, 5, 5]


def test_what_is_wrong_in_the_middle_of_a_chain_is_told(long: Pipeline) -> None:
    second, later = [link for link in long.links if link.partition == 1][1:3]
    text = long.hdfs.read(long.path(second)) or b""
    long.hdfs.write(long.path(second), text[:-1], overwrite=True)
    assert f"{len(text) - 1:,} bytes, its link says {len(text):,}" in long.verify().problems[0]
    long.hdfs.write(long.path(second), text, overwrite=True)
    assert long.verify().problems == ()

    path = f"{long.logs}/_chain/1/{second.name}"
    long.hdfs.rename(path, f"{long.logs}/kept")
    assert "a gap in the chain: partition 1" in long.verify().problems[0]
    long.hdfs.rename(f"{long.logs}/kept", path)

    copy = long.path(replace(later, first=later.first + 1))
    long.hdfs.rename(long.path(later), copy)
    assert {text.split(",")[0].split(" is ")[1] for text in long.verify().problems} == {
        "missing",
        "in no link",
    }
    long.hdfs.rename(copy, long.path(later))

    gone = next(link for link in long.links if link.kind == "expired")
    long.hdfs.delete(f"{long.logs}/_chain/0/{gone.name}")
    assert "a gap in the chain: partition 0" in long.verify().problems[0]


def test_links_before_the_floor_may_be_gone(whole: Pipeline) -> None:
    """Their day is sealed: the day's file has the sums, and no link is looked at any more."""
    whole.send("a", nasa_lines(3_000, 1), first=4_001)
    whole.record("a", LINES + nasa_lines(3_000, 1))
    later = whole.write(day="26-03-11")
    whole.count()
    day = sum((link.digest for link in whole.links if link.day == DAY), start=Digest())
    text = b"".join(whole.hdfs.read(whole.path(link)) or b"" for link in whole.links if link.day == DAY)
    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-1.log", text)
    whole.seal(DAY, day, (SealedFile("apache_logs-1.log", len(text), day, 0),))
    for link in later:
        whole.hdfs.set_attribute(f"{whole.logs}/_chain/{link.partition}", FLOOR_ATTRIBUTE, link.name.encode())
    for link in whole.links:
        if link.day == DAY:
            whole.hdfs.delete(f"{whole.logs}/_chain/{link.partition}/{link.name}")
            whole.hdfs.delete(whole.path(link))
    whole.exact()

    whole.hdfs.delete(f"{whole.logs}/{DAY}")
    found = whole.verify()
    assert (found.lost, found.hdfs) == (4_000, 3_000)
    assert f"make forget DATE=20{DAY}" in found.problems[0]

    whole.seal(DAY, day, forgotten_at="2026-04-11T00:30:00+00:00")
    assert "1 days were forgotten" in "\n".join(whole.exact().details)
    assert json.loads((whole.settings.state_dir / "sealed_days.json").read_text()) == {DAY: 0}
    whole.exact()


def test_files_of_a_sealed_day_are_held_against_its_sums_by_name_and_length(whole: Pipeline) -> None:
    text = b"".join(whole.hdfs.read(whole.path(link)) or b"" for link in whole.links)
    for link in whole.links:
        whole.hdfs.delete(whole.path(link))
    digest = sum((link.digest for link in whole.links), start=Digest())
    path = f"{whole.logs}/{DAY}/apache_logs-1.log"
    whole.hdfs.write(path, text)
    whole.seal(DAY, digest, (SealedFile("apache_logs-1.log", len(text), digest, 0),))
    whole.exact()
    known = (whole.settings.state_dir / "sealed_days.json").read_text()

    whole.hdfs.write(path, text[:-1], overwrite=True)
    assert f"{len(text) - 1:,} bytes, not {len(text):,}" in whole.verify().problems[0]
    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-2.log", b"surplus\n")
    assert any("apache_logs-2.log is no file of the sealed day" in text for text in whole.verify().problems)
    whole.hdfs.delete(path)
    found = whole.verify()
    assert (found.lost, found.doubled) == (4_000, 0)
    assert f"make repair DATE=20{DAY}" in found.problems[0]

    whole.hdfs.delete(f"{whole.logs}/{DAY}/apache_logs-2.log")
    whole.hdfs.write(path, text)
    whole.exact()
    assert (whole.settings.state_dir / "sealed_days.json").read_text() != known


def test_a_stopped_replay_is_named_and_fails(whole: Pipeline) -> None:
    whole.record("a", LINES[:3_990], state="stopped")
    found = whole.verify()
    assert (found.ok, found.lost, found.doubled) == (False, 0, 0)
    assert "replay a" in found.unfinished[0]
    assert "10 lines sent and not acknowledged" in "\n".join(found.details)


def test_a_replay_that_was_given_up_half_sent_is_told_for_ever(whole: Pipeline) -> None:
    """Its record is sealed 30 days after it stopped, and folded into the sums then."""
    whole.record("a", LINES, state="stopped")
    found = whole.verify()
    assert (found.ok, found.sealable) == (False, ("a",))
    record = whole.record("a", LINES, state="stopped", sealed_at="2026-04-10T00:00:00+00:00")
    told = "1 replays were given up half sent: 4,000 lines of theirs were sent"
    assert told in "\n".join(whole.exact().details)
    folder = whole.settings.state_dir / "replays"
    (folder / "a.json").unlink()
    (folder / "sums.json").write_text(json.dumps(Sums().with_folded([record]).to_json()))
    assert told in "\n".join(whole.exact().details)


def test_a_link_that_says_more_than_an_attribute_holds(pipeline: Pipeline) -> None:
    for number in range(300):
        lines = nasa_lines(3, number)
        pipeline.send(f"20261124T000000-{number:08x}", lines)
        pipeline.record(f"20261124T000000-{number:08x}", lines)
    pipeline.write()
    pipeline.count()
    assert pipeline.exact().source == 900


def test_a_topic_made_anew_loses_nothing(whole: Pipeline) -> None:
    """The epoch ends; what the old topic brought is in the sums, and windows that refuse are told."""
    whole.make_topic()
    for partition in range(3):
        head = whole.head(partition)
        assert head is not None
        ended = Link(
            kind="ended", topic=whole.name, topic_id=whole.topic_id, partition=partition,
            epoch=head.next_epoch, first=head.next, next_epoch=1, next=0, attempt="0" * 8, marks=head.marks,
            reason="another topic",
        )  # fmt: skip
        whole.put(replace(ended, totals=head.totals + own(ended)))
    found = whole.exact()
    assert (found.source, found.hdfs, found.in_flight) == (4_000, 4_000, 0)
    assert "epoch 0 ended" in "\n".join(found.details)
    assert "the windows count the topic with id" in "\n".join(found.details)
    whole.send("b", LINES)
    whole.record("b", LINES)
    assert whole.exact().in_flight == 4_000
    whole.write()
    assert whole.exact().in_flight == 4_000  # the windows


def test_offsets_that_retention_took_are_told_and_their_lines_lost(pipeline: Pipeline) -> None:
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    expired = Link(
        kind="expired", topic=pipeline.name, topic_id=pipeline.topic_id, partition=0, epoch=0, first=0,
        next_epoch=0, next=100, attempt="0" * 8,
    )  # fmt: skip
    pipeline.put(replace(expired, totals=Totals() + own(expired)))
    pipeline.write()
    pipeline.count()
    found = pipeline.verify()
    assert (found.lost, found.hdfs) == (100, 3_900)
    assert "100 records were taken by Kafka's retention" in "\n".join(found.details)


def test_profile_memory_is_held_against_its_files(whole: Pipeline) -> None:
    """Its agent wrote what a memory link says, in files of its own."""
    more = nasa_lines(600, 2)
    whole.send("b", more)
    whole.record("b", more)
    whole.write(kind="memory")
    whole.count()
    path = f"{whole.logs}/{DAY}/apache_logs.1773144000000.log"
    whole.hdfs.write(path, b"".join(line + b"\n" for line in more[:-2]))
    found = whole.verify()
    assert (found.lost, found.hdfs, found.doubled) == (2, 4_598, 0)
    assert found.sealable == ()
    whole.hdfs.write(path, b"".join(line + b"\n" for line in more), overwrite=True)
    assert whole.exact().hdfs == 4_600


def test_profile_memory_without_a_link_is_compared_by_the_groups_offsets(whole: Pipeline) -> None:
    from confluent_kafka import Consumer, TopicPartition

    more = nasa_lines(600, 2)
    whole.produce([(number % 3, None, line) for number, line in enumerate(more)])
    whole.record("m", more, profile="memory")
    whole.count()
    path = f"{whole.logs}/{DAY}/_apache_logs.1773144000000.log.tmp"
    whole.hdfs.write(path, b"".join(line + b"\n" for line in more[:-2]))
    assert (whole.exact().in_flight, whole.exact().lost) == (2, 0)
    ends = [TopicPartition(whole.name, partition, len(whole.topic[partition])) for partition in range(3)]
    consumer = Consumer(
        {"bootstrap.servers": whole.kafka.bootstrap, "group.id": whole.settings.consumer_group}
    )
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()
    assert whole.verify().lost == 2
    whole.hdfs.write(path, b"".join(line + b"\n" for line in more), overwrite=True)
    assert whole.exact().hdfs == 4_600


def test_what_profile_memory_lost_is_repaired_sealed_and_folded(whole: Pipeline) -> None:
    """Lines that a repair sent again have an identity, the others have none: both are the replay's."""
    more = nasa_lines(600, 2)
    whole.produce([(number % 3, None, line) for number, line in enumerate(more[:-2])])
    whole.write()
    whole.count()
    records = [whole.record("m", more, profile="memory")]
    assert (whole.verify().lost, whole.verify().sealable) == (2, ("a",))
    whole.send("repair-1+m", more[-2:])
    whole.write()
    whole.count()
    records.append(whole.record("repair-1+m", more[-2:]))
    assert set(whole.exact().sealable) == {"a", "m"}
    records[0] = whole.record("m", more, profile="memory", sealed_at="2026-04-10T00:00:00+00:00")
    assert whole.exact().source == 4_600

    folder = whole.settings.state_dir / "replays"
    (folder / "sums.json").write_text(json.dumps(Sums().with_folded(records).to_json()))
    assert whole.exact().source == 4_600, "the records that a kill left beside the sums count once"
    whole.produce([(0, None, b"of another client")])
    whole.write()
    whole.count()
    assert (whole.exact().source, whole.exact().hdfs) == (4_600, 4_601)
