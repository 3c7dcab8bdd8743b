"""The console tables."""

from datetime import datetime

from windows.console import TopRow, printable, tables

NEW, OLD = datetime(2026, 11, 23, 8, 23), datetime(2026, 11, 23, 8, 22)


def test_newest_window_first_and_how_many_more() -> None:
    rows = [
        TopRow(OLD, "host", "old.example", 9, 90, 1),
        TopRow(NEW, "host", "b.example", 5, 50, 314),
        TopRow(NEW, "host", "a.example", 7, 70, 314),
        TopRow(NEW, "total", "", 1200, 34567, 1),
    ]
    assert tables(rows, 2).splitlines() == [
        "Total requests",
        "window              | count | bytes sent | hosts",
        "--------------------+-------+------------+------",
        "2026-11-23 08:23:00 | 1,200 |     34,567 |   314",
        "",
        "IP traffic",
        "window              | ip          | count",
        "--------------------+-------------+------",
        "2026-11-23 08:23:00 | a.example   |     7",
        "2026-11-23 08:23:00 | b.example   |     5",
        "2026-11-23 08:23:00 | and 312 more",
        "2026-11-23 08:22:00 | old.example |     9",
    ]


def test_nothing_to_show() -> None:
    assert tables([], 10) == ""


def test_keys_cannot_steer_the_terminal() -> None:
    assert printable("/a\x1b[2J\r\n") == "/a\\x1b[2J\\r\\n"
    assert len(printable("/" * 10_000)) == 72
