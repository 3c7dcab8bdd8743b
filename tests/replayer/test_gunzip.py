import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpipe.replayer.errors import SourceDamagedError, SourceError
from logpipe.replayer.gunzip import MAX_BLOCK_BYTES, PlainBlock, UnpackLimits, gunzip, is_gzip

CONTENT = b"".join(b"line %d\n" % number for number in range(50_000))

LIMITS = UnpackLimits(1, 10**9)


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[begin : begin + size] for begin in range(0, len(content), size)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 200), st.integers(0, 5))
def test_members_follow_each_other_at_any_block_boundary(
    members: list[bytes], size: int, padding: int
) -> None:
    compressed = b"".join(gzip.compress(member) for member in members) + b"\0" * padding
    plain = b"".join(members)
    if plain:
        assert b"".join(block.plain for block in gunzip(cut(compressed, size), LIMITS)) == plain
    else:
        with pytest.raises(SourceError, match="holds nothing"):
            list(gunzip(cut(compressed, size), LIMITS))


def test_blocks_are_bounded_however_well_they_were_compressed() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    sizes = [len(block.plain) for block in gunzip([bomb], LIMITS)]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= MAX_BLOCK_BYTES


@pytest.mark.parametrize(
    ("line", "limits", "setting"),
    [
        (b"\0" * 999 + b"\n", UnpackLimits(1, 10**9), "1073741824 bytes.*LOGPIPE_MAX_UNPACKED_GB"),
        (b"\n" * 1000, UnpackLimits(1, 10**7), "10000000 lines.*LOGPIPE_MAX_UNPACKED_LINES"),
    ],
)
def test_a_bomb_is_given_up_behind_what_it_may_unfold_to(
    line: bytes, limits: UnpackLimits, setting: str
) -> None:
    member = gzip.compress(line * 100_000)
    with pytest.raises(SourceError, match=setting):
        for _ in gunzip([member] * 11, limits):
            pass


def test_progress_is_counted_in_bytes_of_the_source() -> None:
    compressed = gzip.compress(random.Random(1).randbytes(200_000))
    counts = [block.source_bytes for block in gunzip([compressed], LIMITS)]
    assert counts == sorted(counts)
    assert counts[-1] == len(compressed)
    assert len(counts) > 5


@pytest.mark.parametrize("missing", [1, 8, 9, 1000])
def test_a_cut_file_gives_everything_up_to_the_cut(missing: int) -> None:
    compressed = gzip.compress(CONTENT)[:-missing]
    blocks: list[PlainBlock] = []
    with pytest.raises(SourceDamagedError, match="cut short"):
        blocks.extend(gunzip(cut(compressed, 1000), LIMITS))
    plain = b"".join(block.plain for block in blocks)
    assert CONTENT.startswith(plain)
    assert len(plain) > len(CONTENT) - 20 * missing - 1
    if missing <= 8:
        assert plain == CONTENT


@pytest.mark.parametrize("behind", [b"\n", b"garbage"])
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_what_follows_the_gzip_data_is_told_for_what_it_is(behind: bytes, size: int) -> None:
    compressed = gzip.compress(CONTENT)
    blocks: list[PlainBlock] = []
    told = f"data end before its byte {len(compressed)}, and something else follows"
    with pytest.raises(SourceDamagedError, match=told):
        blocks.extend(gunzip(cut(compressed + behind, size), LIMITS))
    assert b"".join(block.plain for block in blocks) == CONTENT


@pytest.mark.parametrize("damage", ["checksum", "middle"])
def test_damage_is_told(damage: str) -> None:
    compressed = bytearray(gzip.compress(CONTENT))
    if damage == "checksum":
        compressed[-6] ^= 1
    else:
        compressed[len(compressed) // 2 : len(compressed) // 2 + 50] = b"\xff" * 50
    with pytest.raises(SourceDamagedError, match="damaged"):
        list(gunzip([bytes(compressed)], LIMITS))


def test_is_gzip() -> None:
    assert is_gzip(gzip.compress(b""))
    assert not is_gzip(b"199.72.81.55 - -")
