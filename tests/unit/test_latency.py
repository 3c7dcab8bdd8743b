"""Buckets of latencies: whole, without gaps, and percentiles within the error that is stated."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpipe.windows.latency import (
    EXACT_BELOW_US,
    RELATIVE_ERROR,
    SHARES,
    bucket_us,
    buckets,
    percentiles_us,
    width_us,
)

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


def test_no_requests_have_no_percentiles():
    assert percentiles_us([]) == {}
    assert percentiles_us([(5, 3), (5, 1), (70, 1)])["p50"] == pytest.approx(5)
