from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe import settings as project_settings
from logpipe.accounting.difference import Difference, LineCounts
from logpipe.accounting.topic import IdentityFilter, Record
from logpipe.accounting.verify import Accounting
from logpipe.digest import line_hash

few_lines = st.lists(st.sampled_from([b"", b"a", b"b", b"a\r", b"\xff"]), max_size=12)


@given(few_lines, few_lines)
@settings(max_examples=25, deadline=None)
def test_difference_counts_as_counters_do(tmp_path_factory, expected, found):
    current = project_settings.parse(state_dir=tmp_path_factory.mktemp("difference"))
    with Difference(current) as difference:
        difference.add("source", expected)
        difference.add("hdfs", found)
        counts = difference.compare("source", "hdfs")
        hashes = difference.hashes("source", "hdfs", 100)
    missing, surplus = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    assert counts == LineCounts(missing.total(), surplus.total())
    assert hashes == {line_hash(line): n for line, n in missing.items()} | {
        line_hash(line): -n for line, n in surplus.items()
    }


def test_a_repeat_is_told_from_a_new_line_by_its_number():
    identities = IdentityFilter()
    records = [
        (0, b"r1:1"), (0, b"r1:4"), (0, b"r1:1"), (0, b"r1:4"), (0, b"r1:5"),  # a resend of 1 and 4
        (1, b"r1:2"), (0, b"r2:1"), (0, None), (0, None),  # another partition, another replay, no identity
    ]  # fmt: skip
    new = [identities.is_new(Record(partition, 0, 0, key, b"x")) for partition, key in records]
    assert new == [True, True, False, False, True, True, True, True, True]


def test_the_json_line_holds_what_make_verify_promises():
    accounting = Accounting(
        source=3, topic=3, hdfs=2, windows=3, lost=1, doubled=0, details=("one is missing",)
    )
    assert not accounting.ok
    assert accounting.to_json() == {
        "source": 3, "topic": 3, "hdfs": 2, "windows": 3, "lost": 1, "doubled": 0,
    }  # fmt: skip
