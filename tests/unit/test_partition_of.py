"""Where a line belongs, and whose it is."""

import pytest

from logpipe.identity import credited_to, partition_of


def test_chunks_of_a_thousand_lines_take_turns() -> None:
    numbers = [1, 1000, 1001, 2000, 2001, 3000, 3001, 10**18 - 1]
    assert [partition_of(number, 3) for number in numbers] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert {partition_of(number, 1) for number in numbers} == {0}


@pytest.mark.parametrize(
    ("replay_id", "credited"),
    [
        ("20260101T000000-0a1b2c3d", "20260101T000000-0a1b2c3d"),
        ("repair-1+r", "r"),
        ("repair-12+a+b", "a+b"),
        ("repair-1+repaired", "repaired"),
        ("repair-0+r", "repair-0+r"),
        ("repair-01+r", "repair-01+r"),
        ("repair-1+", "repair-1+"),
        ("repair-1", "repair-1"),
        ("repair-x+r", "repair-x+r"),
        ("repairs-1+r", "repairs-1+r"),
        ("Repair-1+r", "Repair-1+r"),
        ("repair-1+r\n", "repair-1+r\n"),
    ],
)
def test_a_repair_is_credited_to_its_replay(replay_id: str, credited: str) -> None:
    assert credited_to(replay_id) == credited
