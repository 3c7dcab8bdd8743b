"""Which files are merged, and which expire."""

from windows.parquet_store import FAN_IN, WindowFile, expired, next_merge

DAY_MS = 86_400_000


def files(date: str, count: int, tier: int = 0, modified_ms: int = 1000) -> list[WindowFile]:
    return [
        WindowFile(date, f"/w/date={date}/{step:012d}-0-t{tier}.parquet", step, tier, modified_ms)
        for step in range(count)
    ]


def test_few_files_of_a_busy_date_stay() -> None:
    assert next_merge(files("2026-11-23", FAN_IN - 1), quiet_before_ms=500) is None


def test_many_small_files_become_one_of_the_next_tier() -> None:
    merge = next_merge(files("2026-11-23", FAN_IN) + files("2026-11-23", 3, tier=1), quiet_before_ms=500)
    assert merge is not None
    assert (len(merge.paths), merge.tier) == (FAN_IN, 1)


def test_a_quiet_date_becomes_one_file() -> None:
    merge = next_merge(files("2026-11-22", 2) + files("2026-11-22", 1, tier=2), quiet_before_ms=2000)
    assert merge is not None
    assert (len(merge.paths), merge.tier) == (3, 3)
    assert next_merge(files("2026-11-22", 1), quiet_before_ms=2000) is None


def test_a_date_expires_as_a_whole_by_when_it_was_written() -> None:
    old, fresh = files("1995-08-01", 2), files("1995-08-02", 1, modified_ms=5 * DAY_MS)
    assert expired(old + fresh, now_ms=3 * DAY_MS, keep_days=2) == old
    assert expired(old + fresh, now_ms=99 * DAY_MS, keep_days=0) == []
    touched = old + files("1995-08-01", 1, modified_ms=2 * DAY_MS)
    assert expired(touched, now_ms=3 * DAY_MS, keep_days=2) == []
