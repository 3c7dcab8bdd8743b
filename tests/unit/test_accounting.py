from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe import settings as project_settings
from logpipe.accounting.difference import Difference, LineCounts
from logpipe.digest import line_hash

few_lines = st.lists(st.sampled_from([b"", b"a", b"b", b"a\r", b"\xff"]), max_size=12)


@given(few_lines, few_lines)
@settings(max_examples=25)
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
