"""Buckets of latencies: whole, without gaps, and percentiles within the error that is stated."""

import math

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe.page.sql import latencies
from logpipe.windows.latency import (
    EXACT_BELOW_US,
    RELATIVE_ERROR,
    SHARES,
    buckets,
    percentiles_us,
    width_us,
)


def bucket_us(number):
    """The least number of its bucket."""
    return number // width_us(number) * width_us(number)


NUMBERS = st.integers(0, 200) | st.integers(0, 2**53) | st.integers(0, 62).map(lambda bits: 2**bits)


@given(NUMBERS)
def test_a_number_lies_in_its_bucket_and_no_other(number):
    least = bucket_us(number)
    width = width_us(least)
    assert least <= number < least + width
    assert bucket_us(least) == least == bucket_us(least + width - 1)
    assert bucket_us(least + width) == least + width
    assert number >= EXACT_BELOW_US or width == 1
    assert (width - 1) / 2 <= RELATIVE_ERROR * max(1, least)


@given(st.lists(st.none() | NUMBERS))
def test_a_column_has_the_same_buckets(numbers):
    found = buckets(pl.Series(numbers, dtype=pl.Int64)).to_list()
    assert found == [None if number is None else bucket_us(number) for number in numbers]


@given(st.lists(NUMBERS, min_size=1))
def test_percentiles_are_off_by_no_more_than_is_stated(numbers):
    found = percentiles_us((bucket_us(number), 1) for number in numbers)
    assert found.keys() == SHARES.keys()
    for name, share in SHARES.items():
        true = sorted(numbers)[math.ceil(share * len(numbers)) - 1]
        assert abs(found[name] - true) <= RELATIVE_ERROR * true


@settings(max_examples=30)
@given(st.dictionaries(st.integers(0, 10**9).map(bucket_us), st.integers(1, 99), min_size=1, max_size=20))
def test_the_view_of_sql_says_the_same(counts):
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE windows (window_start INT, dimension TEXT, key TEXT, lines BIGINT)")
        rows = [(1, "latency", str(key), lines) for key, lines in counts.items()]
        connection.executemany(
            "INSERT INTO windows VALUES (?, ?, ?, ?)",
            [*rows, (1, "total", "", 9)],
        )
        connection.execute(latencies())
        (found,) = connection.execute("SELECT * FROM latencies").fetchall()
    told = percentiles_us(counts.items())
    assert found == (1, sum(counts.values()), *(pytest.approx(told[name] / 1000) for name in SHARES))


def test_no_requests_have_no_percentiles():
    assert percentiles_us([]) == {}
    assert percentiles_us([(5, 3), (5, 1), (70, 1)])["p50"] == pytest.approx(5)
