"""Serves the page's files, and hands its questions on to the page's service; nobody sees either unnamed.

Every route is guarded: who may see runs of the pipeline's DAG sees the page. Questions are handed on without
a thread, so that a service that hangs takes none of Airflow's; it answers by itself within `TIMEOUT_S`.
"""

import asyncio
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from logpipe.airflow.page import reports
from logpipe.settings import PROJECT_DIR

CONN_ID = "page_default"
GUARDED_BY = "replay_log"  # whoever may see this DAG's runs sees the page
QUESTIONS = frozenset({"flow", "traffic", "days", "replays", "lines", "alerts"})
TIMEOUT_S = 10.0
# So many questions are under way at once, and others do not wait: a service that hangs piles nothing up.
MAX_QUESTIONS = 64
POOL_TIMEOUT_S = 1.0
FILES_DIR = Path(__file__).parent / "www"
JARS_DIR = PROJECT_DIR / "build" / "jars" / "page"
_OF_JAR = {"uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css"}
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
    ".js": "text/javascript; charset=utf-8",
}  # fmt: skip
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Names of the proxy's own; all others, cookies among them, stay here.
_HANDED_ON = ("if-none-match",)
_HANDED_BACK = ("etag", "content-type", "cache-control")


@cache
def files() -> dict[str, bytes]:
    """The page's files by name: its own, and the chart library's from its WebJar.

    Raises:
        FileNotFoundError: the jar is not there; ``make install`` brings it.
    """
    found = {path.name: path.read_bytes() for path in FILES_DIR.iterdir() if path.suffix in _TYPES}
    jar = next(JARS_DIR.glob("uplot-*.jar"), None)
    if jar is None:
        raise FileNotFoundError(f"There is no uplot-*.jar in {JARS_DIR}: `make install` brings it")
    with zipfile.ZipFile(jar) as archive:
        names = archive.namelist()
        for name, inside in _OF_JAR.items():
            found[name] = archive.read(next(each for each in names if each.endswith(inside)))
    return found


class Upstream:
    """The page's service, as Airflow's connection names it."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, question: str, request: Request) -> httpx.Response:
        """Hand a question on, with its query.

        Raises:
            httpx.HTTPError: no answer in time.
            LookupError: there is no such connection.
        """
        async with self._connecting:
            if self._client is None:
                self._client = await run_in_threadpool(self._connect)
            client = self._client
        headers = {name: value for name in _HANDED_ON if (value := request.headers.get(name))}
        return await client.get(f"/{question}?{request.url.query}", headers=headers)

    @staticmethod
    def _connect() -> httpx.AsyncClient:
        from airflow.exceptions import AirflowNotFoundException
        from airflow.models.connection import Connection

        try:
            found = Connection.get_connection_from_secrets(CONN_ID)
        except AirflowNotFoundException:
            raise LookupError(f"there is no connection {CONN_ID}") from None
        return httpx.AsyncClient(
            base_url=f"{found.schema or 'http'}://{found.host}:{found.port}",
            auth=(found.login or "", found.password or ""),
            timeout=httpx.Timeout(TIMEOUT_S, pool=POOL_TIMEOUT_S),
            limits=httpx.Limits(max_connections=MAX_QUESTIONS),
            trust_env=False,
        )

    def forget(self) -> None:
        """Read the connection anew with the next question."""
        self._client = None


def make_app() -> FastAPI:
    """The app that Airflow mounts."""
    guard: Any = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=GUARDED_BY))
    app = FastAPI(dependencies=[guard], docs_url=None, redoc_url=None, openapi_url=None)
    upstream = Upstream()

    def file(name: str) -> Response:
        content = files().get(name)
        if content is None:
            raise HTTPException(404, f"the page has no file {name!r}")
        headers = _HEADERS | {"Cache-Control": "no-cache"}
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=headers)

    @app.get("/")
    async def page() -> Response:
        return file("index.html")

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return file(name)

    async def hand_on(question: str, request: Request) -> Response:
        try:
            answer = await upstream.ask(question, request)
        except (httpx.HTTPError, LookupError) as error:
            if isinstance(error, httpx.ConnectError):  # its address may be another one now
                upstream.forget()
            text = f"The page's service does not answer: {str(error) or type(error).__name__}"
            return JSONResponse({"error": text}, 503, _HEADERS)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the browser must not take it for its own login
            upstream.forget()
            return JSONResponse({"error": "The page's service refuses Airflow's password"}, 503, _HEADERS)
        headers = {name: answer.headers[name] for name in _HANDED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, headers | _HEADERS)

    @app.get("/api/{question}")
    async def ask(question: str, request: Request) -> Response:
        if question not in QUESTIONS:
            raise HTTPException(404, f"expected one of {', '.join(sorted(QUESTIONS))}")
        return await hand_on(question, request)

    @app.get("/reports/{day}/{name}")
    async def report(day: str, name: str, request: Request) -> Response:
        if not reports.is_one(day, name):
            raise HTTPException(404, f"expected a day and a file of its report, such as {reports.EXAMPLE}")
        answer = await hand_on(f"reports/{day}/{name}", request)
        if answer.status_code == httpx.codes.OK:
            answer.headers["Content-Security-Policy"] = reports.POLICY
        return answer

    return app
