"""The multiset digest: equal digests mean the same lines, however ordered, none lost and none twice.

A line is its bytes without the line end. Each is hashed with XXH64, seed 42, which is what Spark's
``xxhash64`` computes over one binary column; the sums are taken modulo 2**64.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import repeat
from typing import Self

import xxhash

HASH_SEED = 42  # the seed of Spark SQL's xxhash64
_MODULUS = 1 << 64


def line_hash(line: bytes) -> int:
    """Hash one line: an unsigned 64-bit number."""
    return xxhash.xxh64_intdigest(line, HASH_SEED)


@dataclass(frozen=True, slots=True)
class Digest:
    """Count, size in bytes (without line ends) and order-independent hash sum of a multiset of lines."""

    lines: int = 0
    size_bytes: int = 0
    hash_sum: int = 0

    @classmethod
    def of(cls, lines: Collection[bytes]) -> Self:
        """Digest the given lines, looping in C; `DigestBuilder` takes them one by one."""
        hash_sum = sum(map(xxhash.xxh64_intdigest, lines, repeat(HASH_SEED)))
        return cls(len(lines), sum(map(len, lines)), hash_sum % _MODULUS)

    def __add__(self, other: "Digest") -> "Digest":
        """Digest of both multisets together."""
        return Digest(
            self.lines + other.lines,
            self.size_bytes + other.size_bytes,
            (self.hash_sum + other.hash_sum) % _MODULUS,
        )

    def __sub__(self, other: "Digest") -> "Digest":
        """Digest of this multiset without the lines of ``other``, which it must contain."""
        return Digest(
            self.lines - other.lines,
            self.size_bytes - other.size_bytes,
            (self.hash_sum - other.hash_sum) % _MODULUS,
        )

    def to_json(self) -> dict[str, int | str]:
        """As JSON values; the hash sum as 16 hexadecimal digits, since JSON numbers lose 64-bit integers."""
        return {"lines": self.lines, "bytes": self.size_bytes, "hash_sum": f"{self.hash_sum:016x}"}

    @classmethod
    def from_json(cls, value: dict[str, int | str]) -> Self:
        """Rebuild what `to_json` gave."""
        return cls(int(value["lines"]), int(value["bytes"]), int(str(value["hash_sum"]), 16))


class DigestBuilder:
    """Digests lines one by one."""

    def __init__(self) -> None:
        self.lines = 0
        self._size_bytes = 0
        self._hash_sum = 0

    def add(self, line: bytes) -> None:
        """Add one line."""
        self.lines += 1
        self._size_bytes += len(line)
        self._hash_sum += xxhash.xxh64_intdigest(line, HASH_SEED)

    def build(self) -> Digest:
        """The digest of the lines added so far."""
        return Digest(self.lines, self._size_bytes, self._hash_sum % _MODULUS)
