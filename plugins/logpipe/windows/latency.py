"""How long requests took, as exact counts in buckets that a number falls into wherever it is counted.

Up to `EXACT_BELOW_US` microseconds each number is a bucket of its own; above, each doubling has
`PER_DOUBLING` buckets of one width. A bucket's name is its least number. A percentile of the counts is the
middle of the bucket that it lies in, which is off by at most `RELATIVE_ERROR` of the true one.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

PER_DOUBLING = 16
EXACT_BELOW_US = 2 * PER_DOUBLING
RELATIVE_ERROR = 1 / (2 * PER_DOUBLING)
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
BITS = PER_DOUBLING.bit_length()  # that a bucket's number keeps


def width_us(least_us: int) -> int:
    """How many numbers a bucket holds, in microseconds."""
    return 1 << max(0, least_us.bit_length() - BITS)


def buckets(latencies_us: "pl.Series") -> "pl.Series":
    """The bucket of each number of microseconds, from 0 on: its least one; null stays null."""
    import polars as pl

    digits = 64 - latencies_us.bitwise_leading_zeros().cast(pl.Int64)
    width = pl.Series([1 << bits for bits in range(64 - BITS)], dtype=pl.Int64).gather(
        (digits - BITS).clip(0)
    )
    return latencies_us // width * width


def percentiles_us(counts: Iterable[tuple[int, int]]) -> dict[str, float]:
    """The `SHARES` of requests took at most so many microseconds; empty without requests.

    Args:
        counts: of each bucket its least number, and the requests in it; a bucket may come several times.
    """
    ordered = sorted(counts)
    total, found, reached = sum(lines for _, lines in ordered), dict[str, float](), 0
    for least_us, lines in ordered:
        reached += lines
        for name, share in SHARES.items():
            if name not in found and reached >= share * total and total:
                found[name] = least_us + (width_us(least_us) - 1) / 2
    return found
