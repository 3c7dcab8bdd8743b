from hypothesis import given
from hypothesis import strategies as st

from logpipe.digest import Digest, DigestBuilder, line_hash

lines = st.lists(st.binary(max_size=40), max_size=30)


def test_the_hash_is_the_one_of_spark():
    # SELECT xxhash64(cast('a' AS BINARY)) in Spark 4.2 gives -8582455328737087284.
    assert line_hash(b"a") == -8582455328737087284 % 2**64


@given(lines, st.randoms())
def test_order_does_not_matter(some, random):
    shuffled = random.sample(some, len(some))
    assert Digest.of(some) == Digest.of(shuffled)


@given(lines, lines)
def test_digests_add_up_as_multisets_do(some, more):
    assert Digest.of(some) + Digest.of(more) == Digest.of(some + more)
    assert Digest.of(some + more) - Digest.of(more) == Digest.of(some)


@given(lines.filter(bool))
def test_one_line_more_or_another_line_shows(some):
    assert Digest.of(some) != Digest.of([*some, some[0]])
    assert Digest.of(some) != Digest.of([*some[:-1], some[-1] + b"x"])


@given(lines)
def test_json_keeps_all_64_bits(some):
    digest = Digest.of(some)
    assert Digest.from_json(digest.to_json()) == digest


@given(lines)
def test_a_digest_is_count_size_and_sum_of_hashes(some):
    builder = DigestBuilder()
    for number, line in enumerate(some):
        assert builder.lines == number
        builder.add(line)
    hash_sum = sum(line_hash(line) for line in some) % 2**64
    assert builder.build() == Digest.of(some) == Digest(len(some), sum(map(len, some)), hash_sum)


def test_a_sum_of_hashes_does_not_outgrow_64_bits():
    both = Digest.of([b"a", b"b"])
    assert line_hash(b"a") + line_hash(b"b") >= 2**64 > both.hash_sum
    assert (Digest.of([b"a"]) + Digest.of([b"b"])) == both
