"""Which addresses may be asked for a log."""

import pytest

from logpipe.settings import SettingsError, parse
from logpipe.settings.source_hosts import SourceHosts

NOT_PUBLIC = {
    "127.0.0.1": "a loopback", "127.8.8.8": "a loopback", "::1": "a loopback", "0.0.0.0": "an unspecified",
    "::": "an unspecified", "169.254.169.254": "a link-local", "fe80::1": "a link-local",
    "fe80::1%eth0": "a link-local", "10.0.0.1": "a private", "172.16.0.1": "a private",
    "192.168.1.1": "a private", "100.64.0.1": "a private", "198.18.0.1": "a private",
    "240.0.0.1": "a private",
    "fd00::1": "a private", "fec0::1": "a private", "2001:db8::1": "a private", "224.0.0.1": "a multicast",
    "239.1.1.1": "a multicast", "ff02::1": "a multicast",
    "::ffff:127.0.0.1": "a loopback", "::ffff:10.1.2.3": "a private", "::127.0.0.1": "a private",
    "64:ff9b::7f00:1": "a loopback", "64:ff9b::a00:1": "a private", "64:ff9b:1::a00:1": "a private",
    "2002:7f00:1::": "a loopback", "2002:a9fe:a9fe::1": "a link-local", "2001:0:7f00:1::": "a private",
}  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_the_internet_does_not_reach_is_not_public(address: str) -> None:
    assert f"is {NOT_PUBLIC[address]}" in SourceHosts.parse("public").why_not("some.host", 80, address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert SourceHosts.parse("public").why_not("some.host", 80, address) == ""
    assert "is not among other.host" in SourceHosts.parse("other.host").why_not("some.host", 80, address)


@pytest.mark.parametrize(
    ("listed", "host", "port", "address", "may"),
    [
        ("10.1.0.0/16", "a", 80, "10.1.2.3", True),
        ("10.1.0.0/16", "a", 80, "::ffff:10.1.2.3", True),
        ("10.1.0.0/16", "a", 80, "10.2.2.3", False),
        ("10.1.0.0/16:80", "a", 80, "10.1.2.3", True),
        ("10.1.0.0/16:80", "a", 81, "10.1.2.3", False),
        ("[fd00::7]:8080", "a", 8080, "fd00::7", True),
        ("fd00::/8", "a", 8080, "fd00::7", True),
        ("Logs.intern", "logs.INTERN.", 21, "192.168.1.1", True),
        ("logs.intern:21", "logs.intern", 22, "192.168.1.1", False),
        ("logs.intern", "logs.intern.evil.org", 21, "192.168.1.1", False),
        ("bücher.example", "xn--bcher-kva.example", 21, "192.168.1.1", True),
        # What a name resolves to may be somebody else's to say.
        ("logs.intern", "logs.intern", 80, "169.254.169.254", False),
        ("logs.intern", "logs.intern", 80, "0.0.0.0", False),
        ("169.254.169.254", "logs.intern", 80, "169.254.169.254", True),
        ("", "a", 80, "8.8.8.8", False),
    ],
)
def test_a_list(listed: str, host: str, port: int, address: str, may: bool) -> None:
    assert (SourceHosts.parse(listed).why_not(host, port, address) == "") is may


@pytest.mark.parametrize("wrong", ["http://host/", "10.0.0.1/8", "a b", "1.2.3", "host:", "host:x", "*"])
def test_what_is_no_host_is_named(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"LOGPIPE_SOURCE_HOSTS=public,.*is no host"):
        parse(source_hosts=f"public,{wrong}")
