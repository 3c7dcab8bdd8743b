"""What the page's service makes of what its sources say: rates, delays, bytes as text, cursors."""

import base64
import json
import threading
import time

import pytest

from logpipe.contracts.formats import DEFAULT, Entry
from logpipe.page.lines import LinesQuestion, _decoded, shown
from logpipe.page.meter import Arrivals, Meter
from logpipe.page.traffic import QuestionError
from logpipe.page.watched import Interest, Watched
from tests.waiting import wait_until


def test_a_rate_is_that_of_the_last_seconds():
    meter = Meter()
    assert meter.per_s is None
    for second in range(60):
        meter.add(100 * min(second, 30), second)
    assert meter.per_s == 0, "nothing came for half a minute"
    meter.add(3600, 60)
    assert meter.per_s == pytest.approx(600 / 12, rel=0.1)


def test_a_counter_that_began_anew_has_no_rate_yet():
    meter = Meter()
    meter.add(5000, 0)
    meter.add(20, 2)
    assert meter.per_s is None
    meter.add(40, 4)
    assert meter.per_s == 10


def test_how_long_lines_have_waited_follows_from_when_the_topic_grew():
    topic = Arrivals()
    assert topic.behind_s(5, 100) is None
    for at, end in ((0, 0), (10, 1000), (20, 1000), (30, 1000), (40, 3000)):
        topic.add(end, at)
    assert topic.behind_s(3000, 50) == 0
    assert topic.behind_s(500, 50) == 45
    assert topic.behind_s(1000, 50) == 20, "what follows began to come after the pause"
    topic = Arrivals()
    topic.add(800, 7)
    assert topic.behind_s(700, 9) is None, "it came before this began to watch"


def test_a_source_that_fails_keeps_its_last_answer_and_says_why():
    answers = iter([1, ConnectionError("nobody listens"), 3])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = Watched("s", ask, 1, 1)
    source.ask()
    first = source.heard
    assert (first.value, first.error, source.state()) == (1, "", {})
    source.ask()
    assert (source.heard.value, source.heard.at_s) == (1, first.at_s)
    assert source.state() == {"error": "nobody listens", "at": round(first.at_s)}
    source.ask()
    assert (source.heard.value, source.state()) == (3, {})


def test_a_source_that_hangs_hangs_alone():
    goes_on, interest = threading.Event(), Interest()
    slow = Watched("slow", lambda: goes_on.wait(30), 0.01, 0.01)
    quick = Watched("quick", time.monotonic, 0.01, 0.01)
    for source in (slow, quick):
        source.start(interest)
    wait_until(lambda: quick.heard.value is not None, 5, "an answer")
    before = quick.heard.value
    wait_until(lambda: quick.heard.value != before, 5, "another answer")
    assert slow.heard.value is None
    goes_on.set()
    wait_until(lambda: slow.heard.value, 5, "its answer")
    interest.end()


def test_nobody_looks_and_nothing_is_asked_until_somebody_does():
    interest, asked = Interest(), []
    source = Watched("s", lambda: asked.append(1), 0.01, 600)
    source.start(interest)
    wait_until(lambda: asked, 5, "the first question")
    interest.show()
    wait_until(lambda: len(asked) > 3, 5, "questions while somebody looks")
    interest.end()


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        (b"plain <script>alert(1)</script>", [("plain <script>alert(1)</script>", False)]),
        (b"\x1b[31mred", [("ESC", True), ("[31mred", False)]),
        (b"a\xff\x00b", [("a", False), ("\\xff", True), ("NUL", True), ("b", False)]),
        ("ü\u202egpj.exe".encode(), [("ü", False), ("U+202E", True), ("gpj.exe", False)]),
        (b"\xed\xb2\x80", [("\\xed", True), ("\\xb2", True), ("\\x80", True)]),
        (b"", []),
    ],
)
def test_bytes_that_are_no_text_are_told_from_text(line, pieces):
    assert shown(line) == pieces


LINE = b'h.example - - [10/Mar/2026:12:00:30 +0000] "GET /a%d?q=1 HTTP/1.0" 404 12'


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"dimension": "error", "key": "404 /a1?q=1"}, [False, True, False]),
        ({"dimension": "host", "key": "h.example"}, [True, True, False]),
        ({"dimension": "host", "key": "h.exampl"}, [False, False, False]),
        ({"class": "4xx"}, [True, True, False]),
        ({"class": "malformed"}, [False, False, True]),
        ({}, [True, True, True]),
    ],
)
def test_a_line_is_chosen_as_the_windows_job_counts_it(values, chosen):
    lines = [LINE % 0, LINE % 1, b"404 h.example /a1?q=1"]
    question = LinesQuestion.of({"from": "0", "to": "60"} | values, by_event=False)
    sieve = question.sieve()
    assert [sieve(line) and one for line, one in zip(lines, question.chosen(lines), strict=True)] == chosen


CADDY = (
    b'{"ts":8e8,"request":{"remote_ip":"::1","method":"GET","host":"v","uri":"/c","headers":{"User-Agent":["curl/8"]}},'
    b'"status":404,"duration":0.25}'
)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"class": "4xx"}, [True, True, False]),
        ({"dimension": "vhost", "key": "v"}, [False, True, False]),
        ({"dimension": "bot", "key": "bot"}, [False, True, False]),
        ({"dimension": "latency", "key": "245760"}, [False, True, False]),
        ({"dimension": "host", "key": "h.example"}, [True, False, True]),
        ({"dimension": "log", "key": "c.log"}, [False, True, False]),
        ({"dimension": "log", "key": "n.log"}, [False, False, False]),
    ],
)
def test_a_line_is_chosen_by_the_format_of_its_log(values, chosen):
    site, old = Entry("c.log", "caddy"), Entry("o.log", "combined")
    lines = [LINE % 1, CADDY, (LINE % 0).replace(b"404", b"200")]
    question = LinesQuestion.of({"from": "0", "to": "60"} | values, by_event=False)
    known = [frozenset({old}), frozenset({site}), frozenset({DEFAULT})]
    assert question.chosen(lines, known) == chosen
    assert question.chosen(lines, [frozenset({old, site})] * 3) == chosen, "files do not tell which"


def test_by_event_a_line_belongs_where_its_own_time_says():
    noon = 1_773_144_000  # 2026-03-10 12:00 UTC
    for zone, shift in ((b"+0000", 0), (b"-0400", 4 * 3600), (b"+1400", -14 * 3600)):
        line = (LINE % 1).replace(b"+0000", zone)
        for begin, is_in in ((noon + shift, True), (noon + shift + 60, False)):
            asked = {"from": str(begin), "to": str(begin + 60)}
            question = LinesQuestion.of(asked, by_event=True)
            assert (question.sieve()(line) and question.chosen([line])[0]) == is_in


@pytest.mark.parametrize("plan", [b"x", b"[]", b'{"hdfs":5,"below":{},"topic":{}}', b'{"topic":{"a":[1,2]}}'])
def test_a_cursor_that_is_none_is_refused(plan):
    with pytest.raises(QuestionError, match="cursor"):
        _decoded(base64.urlsafe_b64encode(plan).decode())
    with pytest.raises(QuestionError, match="cursor"):
        _decoded(json.dumps("ü"))
