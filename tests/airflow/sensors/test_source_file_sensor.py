import asyncio
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from logpipe.airflow.sensors.source_file import SourceFileSensor
from tests.airflow.real_parts import connect
from tests.replayer.servers import LOGIN, Faults, ftp_server


def sensor(url: str, **more: Any) -> SourceFileSensor:
    return SourceFileSensor(task_id="check_source", url=url, **{"wait_s": 1, "poke_interval": 0.1} | more)


def test_a_source_that_is_there_is_described(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"one line\n")
    assert sensor(path.as_uri()).execute({}).startswith("9 bytes, modified ")


@pytest.mark.parametrize(("content", "reason"), [(None, "there is no file"), (b"", "it is empty")])
def test_a_source_that_does_not_come_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "access.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AirflowSensorTimeout, match=rf"{path.as_uri()} cannot be read: .*{reason}"):
        sensor(path.as_uri()).execute({})


def test_a_source_that_comes_later_is_left_to_the_triggerer(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    late = sensor(path.as_uri(), wait_s=30, first_look_s=0.2)
    with pytest.raises(TaskDeferred) as deferral:
        late.execute({})
    path.write_bytes(b"one line\n")

    async def event() -> dict[str, object]:
        found = await asyncio.wait_for(anext(aiter(deferral.value.trigger.run())), 20)
        return dict(found.payload)

    assert late.execute_complete({}, asyncio.run(event())).startswith("9 bytes")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://reader:hidden-word@127.0.0.1:1/a.log", "connection's id"),
        ("file:///etc/x", "LOGPIPE_FILE_ROOTS"),
    ],
)
def test_what_may_not_be_read_is_not_waited_for(url: str, told: str) -> None:
    with pytest.raises(AirflowFailException, match=told) as error:
        sensor(url, wait_s=3600, first_look_s=30).execute({})
    assert "hidden-word" not in str(error.value)


def test_the_login_is_a_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "access.log").write_bytes(b"one line\n")
    connect(monkeypatch, "logs", host="localhost", login=LOGIN.user, password=LOGIN.password)
    with ftp_server(tmp_path, Faults()) as port:
        url = f"ftp://localhost:{port}/access.log"
        assert sensor(url, source_conn_id="logs").execute({}).startswith("9 bytes")
        with pytest.raises(AirflowSensorTimeout, match="refused user or password"):
            sensor(url, first_look_s=30).execute({})


@pytest.mark.parametrize(
    ("conn_id", "fields", "told"),
    [
        ("elsewhere", {"host": "example.org", "login": "me"}, "for host 'example.org', not for 'localhost'"),
        ("other_port", {"host": "localhost", "port": 22, "login": "me"}, "for port 22"),
        ("nobody", {"host": "localhost"}, "has no login"),
        ("replayer_default", {"host": "localhost", "login": "me"}, "replayer_default is for host"),
    ],
)
def test_a_password_goes_to_its_own_server_only(
    monkeypatch: pytest.MonkeyPatch, conn_id: str, fields: dict[str, Any], told: str
) -> None:
    connect(monkeypatch, conn_id, password="hidden-word", **fields)
    with pytest.raises(AirflowFailException, match=told) as error:
        sensor("ftp://localhost/a.log", source_conn_id=conn_id, first_look_s=30).execute({})
    assert "hidden-word" not in str(error.value)
