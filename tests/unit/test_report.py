"""A day's figures where lines are as odd as they can be, and how figures are written."""

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from logpipe.accounting.lines import batches
from logpipe.report.figures import Figures
from logpipe.report.page import change, percent, size

DAY = date(2026, 3, 10)


def figures(folder, *lines, formats=("combined",)):
    with Figures(folder / "own", formats) as made:
        made.add(batches([list(lines)]))
        return made.result(DAY, ZoneInfo("Europe/Berlin"))


def line(at, sent="1", behind=""):
    return f'h - - [{at}] "GET / HTTP/1.0" 200 {sent}{behind}'.encode()


def test_no_lines_have_figures_too(tmp_path):
    found = figures(tmp_path)
    assert (found["requests"], found["visitors"], found["sent_bytes"], found["malformed"]) == (0, 0, 0, 0)
    assert (found["first_at"], found["errors"]) == (None, {"distinct": 0, "top": []})
    assert list(tmp_path.iterdir()) == []


def test_sums_do_not_run_over(tmp_path):
    found = figures(tmp_path, *[line("10/Mar/2026:00:00:00 +0000", "9" * 18)] * 50)
    assert found["sent_bytes"] == 50 * (10**18 - 1)
    assert found["hosts"]["top"] == [{"key": "h", "requests": 50, "sent_bytes": 50 * (10**18 - 1)}]


def test_times_at_the_edge_of_time_are_of_another_day(tmp_path):
    edges = ("01/Jan/0001:00:00:00 +0400", "31/Dec/9999:23:59:59 -0400", "01/Jan/1969:00:00:00 +0000")
    found = figures(tmp_path, *map(line, edges), line("10/Mar/2026:00:30:00 +0100"))
    assert (found["requests"], found["elsewhere"]) == (4, 3)
    assert (found["first_at"], found["last_at"]) == (None, None), "Python has no such year"
    assert [hour["hour"] for hour in found["hours"] if hour["classes"]["2xx"]] == [0, 1, 3, 20]


@pytest.mark.parametrize(
    ("behinds", "visitors"),
    [
        (["", ' "-" "-"'], 1),
        ([' "-" "A"', ' "http://x/" "A"', ' "-" "B"', ""], 3),
        ([' "-" "a \\" b"', ' "-" "a \\" c"'], 2),
    ],
)
def test_visitors_are_addresses_and_agents_where_there_are_any(tmp_path, behinds, visitors):
    lines = [line("10/Mar/2026:00:00:00 +0000", behind=behind) for behind in behinds]
    assert figures(tmp_path, *lines)["visitors"] == visitors


def test_lines_of_several_formats_have_what_each_has(tmp_path):
    caddy = (
        b'{"ts":1773100800.5,"request":{"remote_ip":"c","method":"GET","host":"v.example","uri":"/c","headers":'
        b'{"User-Agent":["curl/8.5.0"]},"tls":{"version":772}},"status":500,"size":7,"duration":%s}'
    )
    lines = [caddy % b"0.25", caddy % b"0.002", line("10/Mar/2026:00:00:00 +0000"), b"neither"]
    found = figures(tmp_path, *lines, formats=("combined", "caddy"))
    assert (found["requests"], found["malformed"], found["reasons"]) == (3, 1, {"format": 1})
    more = {name: {row["key"]: row["requests"] for row in top["top"]} for name, top in found["more"].items()}
    assert more == {
        "vhost": {"v.example": 2}, "agent": {"curl": 2}, "os": {"Other": 2}, "bot": {"bot": 2},
        "tls": {"TLSv1.3": 2},
    }  # fmt: skip
    assert found["latency_ms"]["p50"] == pytest.approx(2, rel=1 / 32)
    assert found["latency_ms"]["p99"] == pytest.approx(250, rel=1 / 32)
    assert figures(tmp_path, lines[2])["latency_ms"] is None


def test_bytes_that_are_no_utf_8_are_counted_as_the_windows_job_reads_them(tmp_path):
    found = figures(tmp_path, b'h\xe9 - - [10/Mar/2026:00:00:00 +0000] "GET / HTTP/1.0" 200 1 "-" "caf\xe9"')
    assert found["hosts"]["top"][0]["key"] == "h\u00e9"
    assert found["visitors"] == 1


def test_figures_are_written_for_people():
    assert [size(number) for number in (0, 999, 1_000, 1_234_567, 10**19)] == [
        "0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "10,000.0 PB",
    ]  # fmt: skip
    assert [change(*pair) for pair in ((5, 5), (5, 0), (6, 5), (99, 100), (0, 5))] == [
        "±0 %", "new", "+20 %", "-1.0 %", "-100 %",
    ]  # fmt: skip
    assert [percent(*pair) for pair in ((0, 0), (1, 1_000), (1, 3))] == ["0.0 %", "0.10 %", "33.3 %"]
