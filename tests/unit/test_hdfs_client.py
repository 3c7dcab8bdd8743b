"""Of two NameNodes the other one is asked where the first has not answered, but not for what may be done."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from logpipe.clients.hdfs import Hdfs, HdfsUnreachableError
from tests.ports import free_port

STATUS = {"pathSuffix": "a", "type": "FILE", "length": 1, "modificationTime": 2}
STANDBY = {"RemoteException": {"exception": "StandbyException", "message": "not supported in state standby"}}
Server = Callable[[int, object], str]


@pytest.fixture
def asked() -> list[str]:
    """Methods of the requests that came, in order, with the number of the server's."""
    return []


@pytest.fixture
def server(asked: list[str]) -> Iterator[Server]:
    """Starts one that gives every request this answer; with status 0 it has gone before it answers."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, answer: object = None) -> str:
        number = len(servers)

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                asked.append(f"{self.command} {number}")
                if status:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(json.dumps(answer).encode())

            def do_GET(self) -> None:
                self.answer()

            def do_PUT(self) -> None:
                self.answer()

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(made)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{made.server_port}"

    yield start
    for made in servers:
        made.shutdown()
        made.server_close()


def test_what_reads_is_asked_of_the_other(server: Server, asked: list[str]) -> None:
    urls = [server(0, None), server(200, {"FileStatuses": {"FileStatus": [STATUS]}})]
    assert [entry.name for entry in Hdfs(";".join(urls), "bigdata").list("/")] == ["a"]
    assert asked == ["GET 0", "GET 1"]


def test_what_may_be_done_is_not_asked_of_the_other(server: Server, asked: list[str]) -> None:
    urls = [server(0, None), server(200, {})]
    with pytest.raises(HdfsUnreachableError, match=r"HDFS RENAME /a: no answer from .*RemoteDisconnected"):
        Hdfs(";".join(urls), "bigdata").rename("/a", "/b")
    assert asked == ["PUT 0"]


def test_what_nobody_has_taken_is_asked_of_the_other(server: Server, asked: list[str]) -> None:
    urls = [f"http://127.0.0.1:{free_port()}", server(403, STANDBY), server(200, {})]
    Hdfs(";".join(urls), "bigdata").rename("/a", "/b")
    assert asked == ["PUT 0", "PUT 1"]


def test_none_that_is_active_is_hdfs_away(server: Server, asked: list[str]) -> None:
    urls = [server(403, STANDBY), server(403, STANDBY)]
    with pytest.raises(HdfsUnreachableError, match="StandbyException"):
        Hdfs(";".join(urls), "bigdata").status("/a")
    assert asked == ["GET 0", "GET 1"]
