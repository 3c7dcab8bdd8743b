"""Names and ids are those that agent 2, in Java, writes."""

from confluent_kafka import Uuid

from logpipe.contracts.chain import file_name, in_use_name, java_id, link_name


def test_a_topics_id_is_as_java_writes_it() -> None:
    assert java_id(Uuid(-5, -1)) == "__________v__________w"
    assert java_id(Uuid(-2 << 58, 0)) == "-AAAAAAAAAAAAAAAAAAAAA"


def test_names_sort_as_links_do() -> None:
    places = [(1, 0), (1, 9), (1, 10), (1, 1 << 62), (2, 0), (10, 3)]
    assert [link_name(*place) for place in sorted(places)] == sorted(link_name(*place) for place in places)
    assert file_name(3, 1, 42) == "apache_logs-3-1-0000000000000000042.log"
    assert in_use_name(3, 1, 42, "0123abcd") == "_apache_logs-3-1-0000000000000000042.0123abcd.tmp"
