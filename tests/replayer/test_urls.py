import pytest

from logpipe.replayer.urls import SourceUrl, mask_passwords


def test_login_and_path_are_decoded_and_the_password_is_masked() -> None:
    url = SourceUrl.parse("ftp://me:s%40cret@host:2121/logs/a%20b.gz")
    assert (url.user, url.password, url.host, url.port) == ("me", "s@cret", "host", 2121)
    assert url.masked == "ftp://me:***@host:2121/logs/a%20b.gz"
    assert url.without_login == "ftp://host:2121/logs/a%20b.gz"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/var/log/a.gz",
        "gopher://host/file",
        "ftp:///file",
        "ftp://host",
        "ftp://host/",
        "file://relative/path",
        "http://host:port/file",
        "ftp://host/a%0d%0aDELE%20b",
        "http://me:secret@host:99999/file",
        "http://me:secret@[host/file",
        "ftp://me:secret/with-slash@host/file",
    ],
)
def test_what_is_no_source_is_refused_without_showing_a_password(text: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        SourceUrl.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://a:pw@b/c and ftp://d:pw@e/f", "ftp://a:p:w@b/c"])
def test_masks_every_password_in_a_text(text: str) -> None:
    assert "pw" not in mask_passwords(text)
    assert "p:w" not in mask_passwords(text)
