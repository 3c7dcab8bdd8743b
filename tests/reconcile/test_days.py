from datetime import UTC, date, datetime

import pytest

from logpipe.settings import parse
from reconciliation.day import Day
from reconciliation.errors import ReconcileError
from reconciliation.options import from_arguments, parser

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 3, 10), "UTC", 24),
        (date(2026, 3, 29), "Europe/Berlin", 23),
        (date(2026, 10, 25), "Europe/Berlin", 25),
        (date(2018, 11, 4), "America/Sao_Paulo", 23),  # midnight itself is skipped
        (date(2026, 4, 5), "Australia/Lord_Howe", 24.5),
    ],
)
def test_a_day_has_the_hours_of_its_zone(day: date, zone: str, hours: float) -> None:
    asked = Day(day, zone)
    assert (asked.end_ms - asked.start_ms) / HOUR_MS == hours
    assert asked.previous.end_ms == asked.start_ms


def test_a_day_begins_at_midnight_of_its_zone() -> None:
    begin = datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp() * 1000
    assert Day(date(2026, 3, 29), "Europe/Berlin").start_ms == begin


@pytest.mark.parametrize("name", ["_reconcile", "26-13-01", "2026-03-10", "26-3-10", "x26-03-10", "26-02-30"])
def test_other_directories_are_no_days(name: str) -> None:
    assert Day.of_partition(name, "UTC") is None


def test_a_partition_names_its_day() -> None:
    day = Day.of_partition("26-03-10", "Europe/Berlin")
    assert day == Day(date(2026, 3, 10), "Europe/Berlin")
    assert day is not None
    assert day.partition == "26-03-10"


def test_the_help_names_every_option_and_exit_status() -> None:
    text = parser(parse()).format_help()
    for word in (
        "--date",
        "--wait-s",
        "--agent-stopped",
        "--target-file-mb",
        "LOGPIPE_",
        "0 reconciled",
        "3 still",
    ):
        assert word in text


def test_a_bad_option_is_named_with_its_value() -> None:
    with pytest.raises(ReconcileError, match="--target-file-mb 0: expected a number from 1 on"):
        from_arguments(["--date", "2026-03-10", "--target-file-mb", "0"], parse())


def test_a_bad_date_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        from_arguments(["--date", "26-03-10"], parse())
    assert "'26-03-10' is no date: expected one such as 2026-11-23" in capsys.readouterr().err
