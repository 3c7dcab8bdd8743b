from datetime import UTC, date, datetime

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from pendulum import instance

from logpipe import settings
from logpipe.airflow.operators.days import DateError, day_of, days_between, schedule_of


def set_zone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = settings.parse(timezone=name)
    monkeypatch.setattr(settings, "load", lambda: found)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2026-03-11T00:30:00+00:00"),
        ("Europe/Berlin", "2026-03-10T23:30:00+00:00"),
        ("GMT+05:45", "2026-03-10T18:45:00+00:00"),
        ("GMT-03:30", "2026-03-10T04:00:00+00:00"),
    ],
)
def test_a_schedule_is_in_the_zone(zone: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_zone(monkeypatch, zone)
    with DAG("d", schedule=schedule_of("30 0 * * *"), start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        pass
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    earliest = instance(datetime(2026, 3, 10, 1, tzinfo=UTC))
    run = timetable.next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=earliest, latest=None, catchup=True),
    )
    assert run is not None
    assert run.run_after.in_timezone("UTC").isoformat() == expected


def test_no_schedule_is_none() -> None:
    assert schedule_of("") is None


def test_days_are_those_of_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = "2026-03-10T18:00:00+00:00", "2026-03-10T18:20:00+00:00"
    assert days_between(first, last) == [date(2026, 3, 10)]
    set_zone(monkeypatch, "GMT+05:45")
    assert days_between(first, last) == [date(2026, 3, 10), date(2026, 3, 11)]
    assert days_between(last, None) == [date(2026, 3, 11)]
    assert days_between("2026-03-10", None) == [date(2026, 3, 10)]


def test_what_is_no_time_is_named_with_where_it_may_come_from() -> None:
    with pytest.raises(DateError, match=r"first_day is '' and last_day '', .*marked by hand"):
        days_between("", "")


@pytest.mark.parametrize("day", ["0001-01-01", "1995-07-01", "2100-01-01", "9999-12-31"])
def test_a_day_without_a_folder_of_its_own_is_refused(day: str) -> None:
    with pytest.raises(DateError, match=f"{day} has no folder of its own, expected a day from 2000-01-01"):
        day_of({}, day)  # type: ignore[typeddict-item]
