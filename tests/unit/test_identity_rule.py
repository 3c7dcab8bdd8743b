"""The identity rule in Python, by the table that holds Java and Spark to it as well."""

import re
from pathlib import Path

import pytest

from logpipe.identity import MAX_JUMP, Identities, Verdict, parse_key

CASES = Path(__file__).parent / "data" / "identities.tsv"


def unescaped(key: str) -> bytes | None:
    """The bytes that a key of the table stands for."""
    if key == "-":
        return None
    found = re.sub(
        r"\\(?:x([0-9a-f]{2})|\\)", lambda match: chr(int(match[1], 16)) if match[1] else "\\", key
    )
    return found.encode("latin-1")


def cases() -> list[tuple[int, bytes | None, str]]:
    """Partition, key and verdict of each row."""
    rows = [line.split("\t") for line in CASES.read_text("ascii").splitlines() if not line.startswith("#")]
    return [(int(partition), unescaped(key), verdict) for partition, key, verdict in rows]


def test_every_case_of_the_table() -> None:
    identities = Identities()
    judged = [(partition, key, identities.judge(partition, key).value) for partition, key, _ in cases()]
    assert judged == cases()
    assert {verdict for _, _, verdict in cases()} == {verdict.value for verdict in Verdict}


def test_the_highest_number_of_18_digits_is_reached_step_by_step() -> None:
    number = 10**18 - 1
    identities = Identities({(0, "r"): number - MAX_JUMP})
    assert identities.judge(0, f"r:{number}".encode()) is Verdict.NEW
    assert identities.judge(0, f"r:{number + 1}".encode()) is Verdict.FOREIGN


@pytest.mark.parametrize("key", [b"r:07", b"r:1\n", b"\xff:1", b""])
def test_what_is_no_key_parses_to_none(key: bytes) -> None:
    assert parse_key(key) is None
