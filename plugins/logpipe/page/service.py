"""The HTTP interface: what the page asks for. Only the page's own proxy inside Airflow knows the password."""

import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from logpipe.clients.errors import ClientError
from logpipe.page.alerts import TICK_S, AlertWatch
from logpipe.page.days import REPORT_TYPES, read_report
from logpipe.page.flow import Flow
from logpipe.page.lines import LinesReader
from logpipe.page.metrics import FlowCollector, Metrics
from logpipe.page.sources import Sources
from logpipe.page.store import Mirror
from logpipe.page.traffic import QuestionError, Traffic
from logpipe.page.watched import Interest, Watched
from logpipe.serving import OPEN_PATH, BasicAuth
from logpipe.settings import Settings
from logpipe.windows.commit import WindowsError

PASSWORD = "page_password"  # noqa: S105 - the name of a key
FOLDER = "page"  # in the state folder: the copy of the windows' files


class Service:
    """The routes over what is watched.

    Each answer has an ``ETag``; whoever names it in ``If-None-Match`` is told 304 while nothing has changed.

    Args:
        settings: of the pipeline.
        hosts: where its agents and what keeps them are.
        airflow: the host of Airflow's API.
    """

    def __init__(self, settings: Settings, hosts: Sequence[str], airflow: str) -> None:
        self._settings = settings
        self._mirror = Mirror(settings, settings.state_dir / FOLDER / "windows")
        self._sources = Sources.of(settings, self._mirror, hosts, airflow)
        self._interest = Interest()
        self._flow = Flow(settings, self._sources)
        self._traffic = Traffic(self._mirror)
        self._lines = LinesReader(settings)
        self._alerts = AlertWatch(settings, self._sources, self._flow, self._traffic)
        self._metrics = Metrics(FlowCollector(self._flow), self._alerts)

    def app(self, password: str) -> ASGIApp:
        """The ASGI application; sources are watched from its start to its end."""
        routes = [
            Route(OPEN_PATH, self._health),
            Route("/flow", partial(self._answer, lambda request: self._flow.answer())),
            Route("/traffic", partial(self._answer, self._ask_traffic)),
            Route("/days", partial(self._answer, self._days)),
            Route("/replays", partial(self._answer, lambda request: self._flow.replays())),
            Route("/reports/{day}/{name}", self._report),
            Route("/alerts", partial(self._answer, lambda request: self._alerts.answer())),
            Route("/alerts/look", partial(self._asked, lambda body: self._alerts.look()), methods=["POST"]),
            Route("/alerts/take", partial(self._asked, lambda body: self._alerts.take()), methods=["POST"]),
            Route("/alerts/told", partial(self._asked, self._told), methods=["POST"]),
            Route("/alerts/late", partial(self._asked, self._late), methods=["POST"]),
            Route("/metrics", self._tell_metrics),
            Route("/lines", partial(self._answer, lambda request: self._lines.answer(request.query_params))),
        ]
        return BasicAuth(Starlette(routes=routes, lifespan=self._lifespan), password, PASSWORD)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._sources.start(self._interest)
        Watched("alerts", self._alerts.tick, TICK_S, TICK_S).start(self._interest)
        yield
        self._interest.end()
        self._alerts.end()

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "is_watched": self._interest.is_there})

    async def _tell_metrics(self, request: Request) -> Response:
        text, kind = await run_in_threadpool(self._metrics.text, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": kind})

    async def _answer(self, ask: Callable[[Request], Any], request: Request) -> Response:
        self._interest.show()
        try:
            found = await run_in_threadpool(ask, request)
        except QuestionError as error:
            return JSONResponse({"error": str(error)}, 422)
        except (WindowsError, ClientError) as error:
            return JSONResponse({"error": str(error)}, 503)
        text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
        tag = f'"{hashlib.blake2b(text, digest_size=12).hexdigest()}"'
        headers = {"ETag": tag, "Cache-Control": "no-store"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(text, headers=headers, media_type="application/json")

    async def _report(self, request: Request) -> Response:
        day, name = request.path_params["day"], request.path_params["name"]
        try:
            content = await run_in_threadpool(read_report, self._settings, day, name)
        except ClientError as error:
            return JSONResponse({"error": str(error)}, 503)
        if content is None:
            text = f"There is no {name} of {day}. Of a sealed day, `make report DATE=20{day}` makes it."
            return PlainTextResponse(text, 404)
        return Response(content, media_type=REPORT_TYPES[name])

    async def _asked(self, do: Callable[[dict[str, Any]], Any], request: Request) -> Response:
        """For Airflow's task: it is nobody who looks at the page."""
        body = await request.json() if await request.body() else {}
        return JSONResponse(await run_in_threadpool(do, body))

    def _told(self, body: dict[str, Any]) -> dict[str, Any]:
        self._alerts.told(body["number"], body["notifiers"], is_over=body["is_over"])
        return {}

    def _late(self, body: dict[str, Any]) -> dict[str, Any]:
        self._alerts.late(body["day"], body["told"])
        return {}

    def _ask_traffic(self, request: Request) -> dict[str, Any]:
        source = self._sources.windows
        answer = self._traffic.answer(request.query_params, time.time())
        return answer | {"away": {source.name: state} if (state := source.state()) else {}}

    def _days(self, _: Request) -> dict[str, Any]:
        source = self._sources.days
        heard = source.heard
        days = None if heard.value is None else [day.to_json() for day in heard.value]
        return {"days": days, "away": {source.name: state} if (state := source.state()) else {}}
