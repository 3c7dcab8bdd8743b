"""Audit reads the bytes: what verify's sums cannot see, and the very lines that differ."""

from collections.abc import Callable
from pathlib import Path

import pytest

from logpipe.accounting import audit as audits
from logpipe.accounting.audit import Audit, audit
from logpipe.contracts.sealed import SealedFile
from logpipe.digest import Digest
from logpipe.sealing.erase import erase
from logpipe.settings import Settings
from tests.accounting.pipeline import DAY, Pipeline, nasa_lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

LINES = nasa_lines(4_000)


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    """Two replays that arrived everywhere; one was sent in part again, and another client sent lines."""
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    pipeline.write()
    more = nasa_lines(1_500, 1)
    pipeline.send("b", more)
    pipeline.send("b", more[:1_000])
    pipeline.produce([(0, None, b"of netcat"), (1, b"abc", b"foreign")])
    pipeline.record("b", more)
    pipeline.write()
    pipeline.count()
    return pipeline


def run(pipeline: Pipeline, day: str | None = None, replay: str | None = None) -> Audit:
    return audit(pipeline.settings, day, replay)


def told(found: Audit) -> str:
    return "\n".join(found.details)


def test_what_is_whole_is_audited_equal(whole: Pipeline) -> None:
    steps: list[tuple[int, int]] = []
    found = audit(whole.settings, day=DAY, progress=lambda done, parts, _: steps.append((done, parts)))
    assert (found.lines, found.lost, found.doubled, found.damaged) == (5_502, 0, 0, 0), found
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert run(whole, replay="b").ok


def test_the_windows_are_counted_anew(pipeline: Pipeline) -> None:
    """From HDFS's lines and, where the windows are ahead, from the topic's."""
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    pipeline.produce([(0, None, b"not of an access log")])
    pipeline.write(until=[1_000, 1_000, 1_000])
    pipeline.count()
    pipeline.write_windows()
    found = run(pipeline)
    assert found.ok, found
    assert not any("not counted anew" in text for text in found.details)
    pipeline.write()
    found = run(pipeline)
    assert (found.ok, found.lines, found.days, found.replays) == (True, 4_001, 1, 1), found

    pipeline.write_windows(status_404=2, status_304=-2)
    wrong = run(pipeline)
    assert wrong.damaged == 2, wrong
    assert "lines with status 404" in told(wrong)
    pipeline.count(until=[2_000, 1_000, 1_000])
    pipeline.write_windows(until=[2_000, 1_000, 1_000])
    assert run(pipeline).ok
    pipeline.write_windows(until=[1_999, 1_000, 1_000])
    assert "the windows hold other lines than HDFS" in told(run(pipeline))


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something happen once, when an audit knows what to read and has read nothing of it yet."""
    read = audits._run

    def happen(what: Callable[[], None]) -> None:
        to_come = [what]

        def late(
            parts: list[audits.Part], settings: Settings, progress: audits.Progress
        ) -> list[tuple[audits.Part, audits.Finding]]:
            while to_come:
                to_come.pop()()
            return read(parts, settings, progress)

        monkeypatch.setattr(audits, "_run", late)

    return happen


def test_the_windows_are_counted_anew_while_they_move_on(
    pipeline: Pipeline, meanwhile: Callable[[Callable[[], None]], None]
) -> None:
    """Lines go on coming: HDFS and windows are held against one another as they were when it began."""
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    pipeline.write(until=[1_000, 900, 1_000])
    pipeline.count(until=[1_000, 1_000, 800])
    pipeline.write_windows(until=[1_000, 1_000, 800])

    def move_on() -> None:
        pipeline.write()
        pipeline.count()
        pipeline.write_windows()

    meanwhile(move_on)
    found = run(pipeline)
    assert (found.ok, found.lines) == (True, 2_900), found
    assert "not counted anew" not in told(found)
    pipeline.count(until=[1_000, 1_000, 800])
    pipeline.write_windows(until=[1_000, 1_000, 799])
    meanwhile(move_on)
    found = run(pipeline)
    assert "the windows hold other lines than HDFS" in told(found), "what came meanwhile does not hide it"


def test_a_day_that_is_sealed_meanwhile_is_read_as_sealed(
    whole: Pipeline, meanwhile: Callable[[Callable[[], None]], None]
) -> None:
    digest = sum((link.digest for link in whole.links), start=Digest())
    text = b"".join(whole.hdfs.read(whole.path(link)) or b"" for link in whole.links)

    def seal(text: bytes) -> None:
        whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-1.log", text, overwrite=True)
        whole.seal(DAY, digest, (SealedFile("apache_logs-1.log", len(text), digest, 0),))
        for link in whole.links:
            whole.hdfs.delete(whole.path(link))

    meanwhile(lambda: seal(text))
    found = run(whole, day=DAY)
    assert (found.ok, found.lines) == (True, 5_502), found


def test_a_file_that_is_gone_is_told_of_after_one_reading(
    whole: Pipeline, meanwhile: Callable[[Callable[[], None]], None]
) -> None:
    """Nobody has sealed its day meanwhile."""
    meanwhile(lambda: whole.hdfs.delete(whole.path(whole.links[0])))
    done: list[int] = []
    found = audit(whole.settings, day=DAY, progress=lambda number, *_: done.append(number))
    assert found.damaged == 1, found
    assert whole.links[0].file_name in told(found)
    assert done.count(1) == 1


def test_a_changed_byte_is_found_and_named(whole: Pipeline) -> None:
    """Of the same length, so that no listing shows it."""
    link = whole.links[0]
    text = whole.hdfs.read(whole.path(link))
    assert text is not None
    whole.hdfs.write(whole.path(link), text.replace(b"host3.", b"h\x07st3.", 1), overwrite=True)
    assert whole.verify().ok
    for found in (run(whole, day=DAY), run(whole, replay="a")):
        assert not found.ok
        assert found.damaged == 1
        assert "1 missing in HDFS: replay a, file://" in told(found)
        assert "line 4: 'host3.example.org" in told(found)
        assert r"too many in HDFS" in told(found)
        assert r"'h\x07st3.example.org" in told(found)


def test_a_source_that_was_changed_is_found(whole: Pipeline) -> None:
    path = Path(whole.folder / "a.log")
    path.write_bytes(path.read_bytes().replace(b"host3.", b"host4.", 1))
    found = run(whole, replay="a")
    assert found.damaged == 1
    assert "source of replay a" in told(found)
    path.unlink()
    gone = run(whole, replay="a")
    assert gone.ok
    assert "only its sums are known" in told(gone)


def test_a_line_that_was_lost_on_the_way_is_named(pipeline: Pipeline) -> None:
    pipeline.send("a", LINES[:-1])
    pipeline.record("a", LINES)
    pipeline.write()
    pipeline.count()
    found = run(pipeline, replay="a")
    assert (found.lost, found.doubled, found.damaged) == (1, 0, 0)
    assert "1 missing in HDFS" in told(found)
    assert "line 4,000: " in told(found)


def test_a_link_that_says_other_than_the_topic_is_found(pipeline: Pipeline) -> None:
    """Lines are swapped between two replays: files and sums agree with one another, the topic does not."""
    pipeline.send("a", LINES[:2_000])
    pipeline.record("a", LINES[:2_000])
    saved = pipeline.topic[0][:]
    pipeline.topic[0][5].line = b"forged"
    pipeline.write()
    pipeline.topic[0] = saved
    pipeline.count()
    assert "the topic holds other records" in told(run(pipeline, day=DAY))


def test_a_sealed_day_is_held_against_its_sums(whole: Pipeline) -> None:
    digest = sum((link.digest for link in whole.links), start=Digest())
    text = b"".join(whole.hdfs.read(whole.path(link)) or b"" for link in whole.links)
    for link in whole.links:
        whole.hdfs.delete(whole.path(link))
    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-1.log", text)
    whole.seal(DAY, digest, (SealedFile("apache_logs-1.log", len(text), digest, 0),))
    assert whole.verify().ok
    assert run(whole, day=DAY).ok
    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-1.log", text[:-10] + b"X" * 9 + b"\n", overwrite=True)
    assert whole.verify().ok
    found = run(whole, day=DAY)
    assert (found.damaged, found.ok) == (1, False)


def test_after_an_erasure_day_source_and_windows_are_proved_as_before(pipeline: Pipeline) -> None:
    whole = pipeline
    whole.send("a", LINES)
    whole.record("a", LINES)
    whole.write()
    whole.count()
    digest = Digest.of(LINES)
    text = b"".join(whole.hdfs.read(whole.path(link)) or b"" for link in whole.links)
    for link in whole.links:
        whole.hdfs.delete(whole.path(link))
    whole.hdfs.write(f"{whole.logs}/{DAY}/apache_logs-1.log", text)
    whole.seal(DAY, digest, (SealedFile("apache_logs-1.log", len(text), digest, 0),))
    whole.write_windows(host_host3=0)
    before = run(whole)
    assert before.ok, before
    done = erase(whole.settings, "host3.example.org")
    assert done.lines == {DAY: text.count(b"host3.example.org")}
    assert done.lines[DAY] > 0
    assert whole.verify().ok
    after = run(whole)
    assert after.ok, after
    assert after.lines == before.lines
    assert "the windows are not counted anew" not in told(after), "their sums are held against what was sent"
    assert "an address was erased from sealed days" in told(after)
    path = f"{whole.logs}/{DAY}/apache_logs-1.log"
    content = whole.hdfs.read(path) or b""
    assert content.count(b"erased ") == done.lines[DAY]
    whole.hdfs.write(path, content.replace(b"erased ", b"host3.example.org ", 1), overwrite=True)
    assert run(whole, day=DAY).damaged == 2, "a line that came back is found by length and by bytes"


def test_a_day_or_replay_that_is_not_there(whole: Pipeline) -> None:
    with pytest.raises(ValueError, match="There is no day 26-01-01"):
        run(whole, day="26-01-01")
    with pytest.raises(ValueError, match="There is no replay nobody"):
        run(whole, replay="nobody")
