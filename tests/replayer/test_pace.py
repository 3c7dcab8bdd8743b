import pytest

from logpipe.replayer.pace import parse_pace, timestamp_epoch_s


def line_at(text: str) -> bytes:
    return f'host - - [{text}] "GET / HTTP/1.0" 200 1'.encode()


def due_times(pace_text: str, lines: list[bytes]) -> list[float]:
    """When lines are due, asked each at the time it is due, from time 100 on."""
    pace = parse_pace(pace_text)
    assert pace is not None
    now_s = 100.0
    times = []
    for line in lines:
        now_s = max(now_s, pace.due_at_s(line, now_s))
        times.append(now_s - 100.0)
    return times


def test_delay_is_the_time_between_lines() -> None:
    assert due_times("delay:0.1", [b"a"] * 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_delay_sets_its_clock_anew_after_a_stall() -> None:
    pace = parse_pace("delay:0.1")
    assert pace is not None
    assert pace.due_at_s(b"", 100.0) == 100.0
    assert pace.due_at_s(b"", 130.0) == 130.0
    assert pace.due_at_s(b"", 130.0) == pytest.approx(130.1)


def test_speed_follows_the_clock_of_the_log() -> None:
    lines = [
        b"no time before the first",
        line_at("01/Aug/1995:00:00:01 -0400"),
        line_at("01/Aug/1995:00:01:01 -0400"),
        b"no time, goes with its predecessor",
        line_at("31/Foo/1995:00:00:99 -0400"),
        line_at("01/Aug/1995:00:00:31 -0400"),  # back in time
        line_at("01/Aug/1995:00:01:02 -0400"),
        line_at("01/Aug/1995:05:01:01 +0100"),  # the same moment in another zone
        line_at("01/Aug/1995:01:01:01 -0400"),  # a gap
    ]
    expected = [0, 0, 1, 1, 1, 1, 1 + 1 / 60, 1 + 1 / 60, 61]
    assert due_times("speed:60", lines) == pytest.approx(expected)


def test_speed_does_not_rush_after_a_stall() -> None:
    pace = parse_pace("speed:1")
    assert pace is not None
    pace.due_at_s(line_at("01/Aug/1995:00:00:00 -0400"), 100.0)
    assert pace.due_at_s(line_at("01/Aug/1995:00:00:01 -0400"), 200.0) == 200.0
    assert pace.due_at_s(line_at("01/Aug/1995:00:00:03 -0400"), 200.0) == pytest.approx(202.0)


def test_max_has_no_pace() -> None:
    assert parse_pace("max") is None


@pytest.mark.parametrize("seconds", ["", "-1", "nan", "inf", "90000", "x"])
@pytest.mark.parametrize(
    "text", ["delay:{}", "speed:0", "speed:-{}", "speed:x", "fast", "delay", "", "max:{}"]
)
def test_other_texts_are_refused_with_what_was_expected(text: str, seconds: str) -> None:
    with pytest.raises(ValueError, match=r"expected delay:SECONDS .*speed:FACTOR .*max"):
        parse_pace(text.format(seconds))


@pytest.mark.parametrize(
    ("text", "epoch_s"),
    [
        ("01/Aug/1995:00:00:01 -0400", 807249601.0),
        ("01/aug/1995:00:00:01 -0400", 807249601.0),
        ("29/Feb/1995:00:00:01 -0400", None),
        ("01/Aug/1995:25:00:01 -0400", None),
        ("01/Aug/1995:00:00:01 -9999", None),
        ("01/Aug/1995:00:00:01", None),
    ],
)
def test_timestamps(text: str, epoch_s: float | None) -> None:
    assert timestamp_epoch_s(line_at(text)) == epoch_s
