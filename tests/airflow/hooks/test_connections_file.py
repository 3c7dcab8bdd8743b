"""Airflow's look at the file of connections, which stays as quick as a glance at its date."""

import json
import os

import pytest
from airflow.secrets import local_filesystem
from structlog.testing import capture_logs

from logpipe.airflow.connections import ConnectionsFile


def test_the_file_is_read_once_until_it_is_another_one(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    known = local_filesystem.load_connections_dict
    monkeypatch.setattr(
        local_filesystem, "load_connections_dict", lambda path: read.append(path) or known(path)
    )
    path = tmp_path / "connections.json"

    def write(host: str) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps({"a": {"conn_type": "http", "host": host, "password": "word"}}))
        os.replace(fresh, path)

    write("here")
    backend = ConnectionsFile(connections_file_path=str(path))
    assert [backend.get_connection("a").host for _ in range(5)] == ["here"] * 5
    assert backend.get_connection("b") is None
    assert len(read) == 1
    write("there")
    assert backend.get_connection("a").host == "there"
    assert backend.get_connection("a").password == "word"
    assert len(read) == 2
    path.unlink()
    with pytest.raises(FileNotFoundError):
        backend.get_connection("a")


def test_to_ask_for_a_connection_says_nothing_in_a_tasks_log(tmp_path) -> None:
    (tmp_path / "connections.json").write_text(json.dumps({"a": {"conn_type": "logpipe_page", "host": "h"}}))
    found = ConnectionsFile(connections_file_path=str(tmp_path / "connections.json")).get_connection("a")
    assert found is not None
    with capture_logs() as said:
        assert (found.conn_type, found.get_uri()) == ("logpipe_page", "logpipe-page://h")
    assert said == []
