"""The page's way to its service, when that hangs: what is asked meanwhile ends soon, and piles nothing up."""

import asyncio
import json
import time

import httpx
import pytest
from starlette.requests import Request

from logpipe.airflow.page import app


def question():
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"last=60", "headers": []})


@pytest.fixture
async def hung(monkeypatch):
    """A service that takes connections and never answers; gives how many it had at once."""
    had = [0]
    now = 0

    async def take(reader, writer):
        nonlocal now
        now += 1
        had.append(now)
        await reader.read()  # until whoever asks gives up
        now -= 1
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = {"conn_type": "http", "host": "127.0.0.1", "port": port, "login": "logpipe", "password": "p"}
    monkeypatch.setenv("AIRFLOW_CONN_PAGE_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(app, "TIMEOUT_S", 3.0)
    yield had
    server.close()


async def test_a_service_that_hangs_holds_few_questions_and_none_for_long(hung):
    upstream = app.Upstream()
    began = time.monotonic()
    asked = [upstream.ask("flow", question()) for _ in range(3 * app.MAX_QUESTIONS)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, httpx.TimeoutException) for answer in answers), answers
    # One that was given up may still be seen for a moment here, when others have taken its place.
    assert 0 < max(hung) < 2 * app.MAX_QUESTIONS
    assert time.monotonic() - began < 30, "each for three seconds, on however busy a machine"


async def test_no_connection_is_said_to_be_missing(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_PAGE_DEFAULT", raising=False)
    with pytest.raises(LookupError, match="page_default"):
        await app.Upstream().ask("flow", question())
