"""Which files are merged, and which dates are old."""

import time

import pytest

from logpipe.windows.commit import DateFile
from windows.folds import FAN_IN, next_merge, old_dates

DAY_MS = 86_400_000


def files(count: int, tier: int = 0, modified_ms: int = 1000, first: int = 1) -> list[DateFile]:
    """Files of ten steps each, one after the other."""
    return [DateFile("1995-08-01", s, s + 9, tier, modified_ms) for s in range(first, first + 10 * count, 10)]


def test_few_files_of_a_busy_date_stay() -> None:
    assert next_merge(files(FAN_IN - 1), 10**6, quiet_before_ms=500) == []


def test_many_small_files_become_one_of_the_next_tier() -> None:
    large, small = files(3, tier=1), files(FAN_IN, first=31)
    assert next_merge(large + small, 10**6, quiet_before_ms=500) == small


def test_only_neighbours_are_merged_since_the_name_says_that_nothing_lacks_between() -> None:
    between = [*files(FAN_IN // 2), *files(1, tier=1, first=81), *files(FAN_IN // 2, first=91)]
    assert next_merge(between, 10**6, quiet_before_ms=500) == []


def test_what_a_commit_in_the_log_needs_stays() -> None:
    assert next_merge(files(FAN_IN), 10 * FAN_IN - 1, quiet_before_ms=500) == []
    assert len(next_merge(files(FAN_IN + 3), 10 * FAN_IN, quiet_before_ms=500)) == FAN_IN
    assert next_merge(files(2), 19, quiet_before_ms=2000) == []


def test_a_quiet_date_becomes_one_file() -> None:
    of_date = [*files(1, tier=2), *files(2, first=11)]
    assert next_merge(of_date, 30, quiet_before_ms=2000) == of_date
    assert next_merge(files(2), 20, quiet_before_ms=2000) == files(2)
    assert next_merge(files(1), 30, quiet_before_ms=2000) == []


def test_a_date_is_not_quiet_as_long_as_one_of_its_files_is_new() -> None:
    of_date = [*files(1), *files(1, first=11, modified_ms=2000), *files(1, first=21)]
    assert next_merge(of_date, 30, quiet_before_ms=2000) == []
    assert next_merge(of_date, 30, quiet_before_ms=2001) == of_date
    assert next_merge(of_date, 29, quiet_before_ms=2001) == []


def test_a_date_expires_as_a_whole_by_when_it_was_written() -> None:
    now_ms = time.time_ns() // 1_000_000
    old = files(2, modified_ms=now_ms - 3 * DAY_MS)
    fresh = [DateFile("1995-08-02", 1, 2, 0, now_ms)]
    assert old_dates(old + fresh, keep_days=2) == {"1995-08-01"}
    assert old_dates(old + fresh, keep_days=0) == set()
    assert old_dates(old + files(1, modified_ms=now_ms - DAY_MS, first=21), keep_days=2) == set()


@pytest.mark.parametrize(("more_s", "expires"), [(-60, set()), (1, {"1995-08-01"})])
def test_a_date_is_kept_for_its_days_to_the_minute(more_s: int, expires: set[str]) -> None:
    written_ms = time.time_ns() // 1_000_000 - 400 * DAY_MS - more_s * 1000
    assert old_dates(files(1, modified_ms=written_ms), keep_days=400) == expires
