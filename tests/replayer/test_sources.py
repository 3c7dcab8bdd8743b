"""Reading from real servers that fail in every way."""

import gzip
import os
import random
import time
from pathlib import Path
from typing import Literal

import pytest

from logpipe.replayer.errors import SourceChangedError, SourceError, SourceRefusedError
from logpipe.replayer.front_door import FrontDoor, check_source
from logpipe.replayer.halt import Halt
from logpipe.replayer.raw_reader import RawReader, source_of
from logpipe.replayer.sources import SourceVersion
from logpipe.replayer.urls import Login, SourceUrl
from logpipe.settings import parse

from .servers import LOGIN, Faults, ftp_server, web_server, write_certificate

WRONG = Login("reader", "wrong")
CONTENT = random.Random(1).randbytes(1_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.log").write_bytes(CONTENT)
    return served


@pytest.fixture
def faults() -> Faults:
    return Faults()


def reader(
    url: str, login: Login = LOGIN, *, hosts: str = "public,localhost", **options: object
) -> RawReader:
    source = source_of(SourceUrl.parse(url), FrontDoor.of(parse(source_hosts=hosts)), login)
    return RawReader(source, Halt(), **options)  # type: ignore[arg-type]


def failure(url: str, **options: object) -> SourceError:
    """What reading ends with, within little patience."""
    with pytest.raises(SourceError) as caught:
        list(reader(url, **{"patience_s": 0.3, "first_contact_patience_s": 0.3, **options}))  # type: ignore[arg-type]
    assert "s@cret" not in str(caught.value)
    return caught.value


def test_ftp(folder: Path, faults: Faults) -> None:
    with ftp_server(folder, faults) as port:
        source = reader(f"ftp://localhost:{port}/a.log")
        assert b"".join(source) == CONTENT
    modified_s = int((folder / "a.log").stat().st_mtime)
    assert source.version is not None
    assert source.version.size_bytes == len(CONTENT)
    assert source.version.modified_at == time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(modified_s))


def test_ftp_goes_on_by_rest_after_drops(folder: Path, faults: Faults) -> None:
    faults.drops_left, faults.drop_after_bytes = 3, 300_000
    troubles: list[str | None] = []
    with ftp_server(folder, faults) as port:
        source = reader(f"ftp://localhost:{port}/a.log", on_trouble=troubles.append)
        assert b"".join(source) == CONTENT
    assert faults.transfers == 4
    assert faults.ranges == [300_000, 600_000, 900_000]
    assert any("transfer" in (text or "") for text in troubles)


def test_ftp_without_rest_reads_over_what_it_has(folder: Path, faults: Faults) -> None:
    faults.drops_left, faults.drop_after_bytes = 1, 300_000
    with ftp_server(folder, faults, can_seek=False) as port:
        assert b"".join(reader(f"ftp://localhost:{port}/a.log")) == CONTENT


def test_ftps_checks_the_certificate(folder: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = folder.parent / "certificate.pem"
    write_certificate(certificate)
    with ftp_server(folder, faults, certificate=certificate) as port:
        url = f"ftps://localhost:{port}/a.log"
        assert "certificate is not trusted" in failure(url).reason
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert b"".join(reader(url)) == CONTENT


def test_ftp_refusals_are_final(folder: Path, faults: Faults) -> None:
    with ftp_server(folder, faults) as port:
        refused = failure(f"ftp://localhost:{port}/a.log", login=WRONG, patience_s=99.0)
        assert "refused user or password" in refused.reason
        missing = failure(f"ftp://localhost:{port}/b.log", patience_s=99.0)
        assert "no such file" in missing.reason


@pytest.mark.parametrize("scheme", ["ftp", "ftps", "http", "https"])
def test_a_refused_connection_is_tried_again_for_a_while(scheme: str, unused_tcp_port: int) -> None:
    began_s = time.monotonic()
    error = failure(f"{scheme}://localhost:{unused_tcp_port}/a.log")
    assert time.monotonic() - began_s >= 0.3
    assert "gave up after trying again" in error.reason
    assert "refused" in error.reason.lower() or "connect" in error.reason.lower()


def test_a_slow_server_is_waited_for(folder: Path, faults: Faults) -> None:
    (folder / "small.log").write_bytes(CONTENT[:3000])
    with ftp_server(folder, faults, bytes_per_s=1024) as port:
        began_s = time.monotonic()
        blocks = list(reader(f"ftp://localhost:{port}/small.log", patience_s=0.5))
        assert b"".join(blocks) == CONTENT[:3000]
    assert len(blocks) > 1, "bytes are to be handed on as they arrive"
    assert time.monotonic() - began_s > 1.0


def test_http(folder: Path, faults: Faults) -> None:
    with web_server(folder, faults) as port:
        source = reader(f"http://localhost:{port}/a.log")
        assert b"".join(source) == CONTENT
    assert source.version is not None
    assert source.version.size_bytes == len(CONTENT)
    assert source.version.modified_at is not None


def test_http_goes_on_by_range_after_drops(folder: Path, faults: Faults) -> None:
    faults.drops_left, faults.drop_after_bytes = 3, 300_000
    with web_server(folder, faults) as port:
        assert b"".join(reader(f"http://localhost:{port}/a.log")) == CONTENT
    assert faults.drops_left == 0
    assert faults.ranges, "it is to go on where it was, or where aiohttp gave out the last bytes"


def test_http_without_ranges_reads_over_what_it_has(folder: Path, faults: Faults) -> None:
    faults.drops_left, faults.drop_after_bytes = 1, 300_000
    with web_server(folder, faults, can_seek=False) as port:
        assert b"".join(reader(f"http://localhost:{port}/a.log")) == CONTENT


@pytest.mark.parametrize("can_seek", [True, False])
@pytest.mark.parametrize("end", ["chunks", "close"])
def test_http_of_unknown_length_is_read_to_its_end_though_it_breaks_off(
    folder: Path, faults: Faults, end: Literal["chunks", "close"], can_seek: bool
) -> None:
    faults.drops_left, faults.drop_after_bytes = (2 if can_seek else 1), 300_000
    with web_server(folder, faults, end=end, can_seek=can_seek) as port:
        source = reader(f"http://localhost:{port}/a.log")
        assert b"".join(source) == CONTENT
    assert faults.drops_left == 0
    assert source.version is not None
    assert source.version.size_bytes is None


def test_http_of_unknown_length_that_shrank_is_refused(folder: Path, faults: Faults) -> None:
    with web_server(folder, faults, end="close") as port:
        pinned = SourceVersion(None, None)
        error = failure(f"http://localhost:{port}/a.log", pinned=pinned, offset=len(CONTENT) + 1)
    assert f"it is now {len(CONTENT)} bytes" in error.reason


def test_http_of_unknown_length_that_always_breaks_off_fails(folder: Path, faults: Faults) -> None:
    faults.drops_left, faults.drop_after_bytes = 1_000_000, 300_000
    with web_server(folder, faults, end="chunks", can_seek=False) as port:
        assert "gave up" in failure(f"http://localhost:{port}/a.log").reason


def test_ftp_without_size_is_read_to_its_end_though_it_breaks_off(folder: Path, faults: Faults) -> None:
    faults.drops_left, faults.drop_after_bytes = 2, 300_000
    with ftp_server(folder, faults, tells_size=False) as port:
        source = reader(f"ftp://localhost:{port}/a.log")
        assert b"".join(source) == CONTENT
    assert faults.drops_left == 0
    assert source.version is not None
    assert source.version.size_bytes is None


@pytest.mark.parametrize(
    ("login", "name", "status", "told"),
    [
        (WRONG, "a.log", 0, "refused user or password (401"),
        (LOGIN, "b.log", 0, "no such file"),
        (LOGIN, "a.log", 410, "410"),
    ],
)
def test_http_refusals_are_final(
    folder: Path, faults: Faults, login: Login, name: str, status: int, told: str
) -> None:
    with web_server(folder, faults, status=status) as port:
        assert told in failure(f"http://localhost:{port}/{name}", login=login, patience_s=99.0).reason


def test_http_errors_of_the_server_are_tried_again(folder: Path, faults: Faults) -> None:
    with web_server(folder, faults, status=503) as port:
        error = failure(f"http://localhost:{port}/a.log")
    assert "503" in error.reason
    assert "gave up" in error.reason


def test_file(folder: Path) -> None:
    assert b"".join(reader(f"file://{folder}/a.log", offset=10)) == CONTENT[10:]


@pytest.mark.parametrize(("name", "told"), [("b.log", "no file"), ("", "directory, not a file")])
def test_file_failures_are_final(folder: Path, name: str, told: str) -> None:
    assert told in failure(f"file://{folder}/{name}", patience_s=99.0).reason


def test_an_empty_file_is_an_error(folder: Path, faults: Faults) -> None:
    (folder / "empty").touch()
    with ftp_server(folder, faults) as port, web_server(folder, faults) as web_port:
        for url in (
            f"file://{folder}/empty",
            f"ftp://localhost:{port}/empty",
            f"http://localhost:{web_port}/empty",
        ):
            assert "empty" in failure(url).reason


@pytest.mark.parametrize("scheme", ["ftp", "http", "file"])
def test_a_source_that_changed_is_refused_by_both_versions(folder: Path, faults: Faults, scheme: str) -> None:
    with ftp_server(folder, faults) as ftp_port, web_server(folder, faults) as web_port:
        place = {"ftp": f"localhost:{ftp_port}", "http": f"localhost:{web_port}",
                 "file": str(folder)}[scheme]  # fmt: skip
        source = reader(f"{scheme}://{place}/a.log")
        next(iter(source))
        pinned = source.version
        assert isinstance(pinned, SourceVersion)
        (folder / "a.log").write_bytes(CONTENT[:-1])
        os.utime(folder / "a.log", (1, 1))
        with pytest.raises(SourceChangedError) as caught:
            list(reader(f"{scheme}://{place}/a.log", pinned=pinned, offset=500))
    assert str(pinned) in caught.value.reason
    assert f"{len(CONTENT) - 1} bytes, modified 1970-01-01T00:00:01" in caught.value.reason


def test_a_gzip_file_goes_on_in_the_middle_after_a_drop(folder: Path, faults: Faults) -> None:
    (folder / "a.gz").write_bytes(gzip.compress(CONTENT))
    faults.drops_left, faults.drop_after_bytes = 1, 300_000
    with ftp_server(folder, faults) as port:
        raw = b"".join(reader(f"ftp://localhost:{port}/a.gz"))
    assert gzip.decompress(raw) == CONTENT


@pytest.mark.parametrize(
    "url",
    [
        "ftp://169.254.169.254/a.log",
        "ftps://[fe80::1]/a.log",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/a.log",
        "http://[fe80::1]/a.log",
        "https://0xa9fea9fe/a.log",
    ],
    ids=["ftp", "ftps", "http", "mapped", "v6", "a name that resolves there"],
)
def test_a_link_local_address_is_not_asked(url: str) -> None:
    refused = failure(url, patience_s=99.0, first_contact_patience_s=99.0)
    assert isinstance(refused, SourceRefusedError)
    assert "is a link-local address, which is not asked for a log" in refused.reason
    assert "LOGPIPE_SOURCE_HOSTS" in refused.reason


@pytest.mark.parametrize("target", ["http://169.254.169.254/a.log", "http://127.0.0.1:{port}/a.log"])
def test_a_redirect_is_followed_only_to_where_one_may_ask(folder: Path, faults: Faults, target: str) -> None:
    with (
        web_server(folder, faults) as inner,
        web_server(folder, faults, redirect_to=target.format(port=inner)) as port,
    ):
        refused = failure(f"http://localhost:{port}/a.log", first_contact_patience_s=99.0)
    assert isinstance(refused, SourceRefusedError)
    assert not faults.transfers


@pytest.mark.parametrize("scheme", ["ftp", "http"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_this_machine_is_not_asked_unless_it_is_listed(
    folder: Path, faults: Faults, scheme: str, host: str
) -> None:
    """Nothing is connected to: what would listen there has not heard of it."""
    with (ftp_server if scheme == "ftp" else web_server)(folder, faults) as port:
        url = f"{scheme}://{host}:{port}/a.log"
        door = FrontDoor.of(parse(source_hosts="public"))
        raw = RawReader(source_of(SourceUrl.parse(url), door, LOGIN), Halt(), first_contact_patience_s=99.0)
        with pytest.raises(SourceRefusedError, match=r"a loopback address.*LOGPIPE_SOURCE_HOSTS"):
            list(raw)
        with pytest.raises(SourceRefusedError, match=r"a loopback address.*LOGPIPE_SOURCE_HOSTS"):
            check_source(url, parse(source_hosts="public"))


def test_the_settings_own_log_may_be_asked_for_at_its_port_only(folder: Path, faults: Faults) -> None:
    with ftp_server(folder, faults) as port:
        own = parse(source_hosts="public", ftp_port=port)
        for host in ("localhost", "127.0.0.1"):
            check_source(f"ftp://{host}:{port}/a.log", own)
            url = SourceUrl.parse(f"ftp://{host}:{port}/a.log")
            assert b"".join(RawReader(source_of(url, FrontDoor.of(own), LOGIN), Halt())) == CONTENT
        with pytest.raises(SourceRefusedError):
            check_source("ftp://localhost:22/a.log", own)


def test_an_ftp_server_sends_nobody_to_another_address(folder: Path, faults: Faults) -> None:
    with ftp_server(folder, faults, says_it_is_at="169.254.169.254") as port:
        assert b"".join(reader(f"ftp://127.0.0.1:{port}/a.log", hosts="127.0.0.1")) == CONTENT


def test_a_query_that_is_secret_comes_with_the_login(folder: Path, faults: Faults) -> None:
    with web_server(folder, faults) as port:
        login = Login(LOGIN.user, LOGIN.password, "X-Amz-Signature=hidden-word")
        assert b"".join(reader(f"http://localhost:{port}/a.log?part=1", login)) == CONTENT
        assert faults.queries == ["part=1&X-Amz-Signature=hidden-word"]
        reason = failure(f"http://localhost:{port}/absent.log", login=login).reason
    assert "404" in reason
    assert "hidden-word" not in reason
