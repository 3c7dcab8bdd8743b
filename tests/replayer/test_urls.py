import pytest

from logpipe import settings
from logpipe.replayer.front_door import check_source
from logpipe.replayer.urls import Login, SourceUrl


def test_user_and_path_are_decoded() -> None:
    url = SourceUrl.parse("ftp://me%40home@host:2121/logs/a%20b.gz")
    assert (url.user, url.host, url.port, url.path) == ("me@home", "host", 2121, "/logs/a b.gz")
    assert url.asked() == "ftp://host:2121/logs/a%20b.gz"
    assert url.shown == "ftp://***@host:2121/logs/a%20b.gz"


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


@pytest.mark.parametrize("text", ["file:///logs/a#1.log", "file:///logs/a?1.log", "ftp://localhost:2121/a#1"])
def test_a_file_whose_name_would_be_cut_off_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write them as %3F and %23"):
        check_source(text, settings.parse(file_roots="/logs"))
    check_source("file:///logs/a%231.log", settings.parse(file_roots="/logs"))


@pytest.mark.parametrize("text", ["ftp://me:pw@host/a", "http://a:p:w@b/c", "https://:pw@host:99999/a"])
def test_a_password_is_refused_with_the_way_to_do_it_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"\*\*\*@.* Airflow connection .*CONNECTION=") as caught:
        SourceUrl.parse(text)
    assert "pw" not in str(caught.value)
    assert "p:w" not in str(caught.value)


@pytest.mark.parametrize("values", ["secret", {"user": "me"}, {"user": "me", "password": 7}, {"secret": ""}])
def test_a_login_is_two_texts_and_is_not_shown(values: object) -> None:
    assert "secret" not in repr(Login("me", "secret"))
    with pytest.raises(ValueError, match="texts user and password") as caught:
        Login.from_json(values)
    assert "secret" not in str(caught.value)
