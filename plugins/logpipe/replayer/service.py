"""The HTTP interface: starting, watching and stopping replays."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from logpipe.replayer.follow.engine import Engine
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.ledger import LedgerError
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.registry import ConflictError, Registry
from logpipe.serving import OPEN_PATH, BasicAuth
from logpipe.settings.unreadable import UNREADABLE

PASSWORD = "replayer_password"  # noqa: S105 - the name of a key


class Service:
    """The routes over a registry of replays and the followed logs."""

    def __init__(self, registry: Registry, engine: Engine) -> None:
        self._registry = registry
        self._engine = engine
        registry.on_fold = engine.folded
        registry.drop_formats = engine.drop_formats

    def app(self, password: str) -> ASGIApp:
        """The ASGI application; replays resume with its start and halt with its end."""
        routes = [
            Route(OPEN_PATH, self._health),
            Route("/replays", self._list),
            Route("/replays", self._submit, methods=["POST"]),
            Route("/replays/{replay_id}", self._get),
            Route("/replays/{replay_id}/stop", self._stop, methods=["POST"]),
            Route("/replays/{replay_id}/seal", self._seal, methods=["POST"]),
            Route("/replays/{replay_id}/give-up", self._give_up, methods=["POST"]),
            Route("/follows", self._follows),
            Route("/follows", self._follow, methods=["POST"]),
            Route("/follows/{follow_id}", self._followed),
            Route("/follows/{follow_id}/stop", self._unfollow, methods=["POST"]),
        ]
        return BasicAuth(Starlette(routes=routes, lifespan=self._lifespan), password, PASSWORD)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(self._registry.resume)
        await run_in_threadpool(self._engine.resume)
        yield
        await asyncio.gather(
            run_in_threadpool(self._engine.shut_down), run_in_threadpool(self._registry.shut_down)
        )

    async def _health(self, _: Request) -> Response:
        running = sum(one.state == "running" and not one.generation for one in self._registry.all())
        return JSONResponse({"status": "ok", "replays_running": running})

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"replays": [record.to_json() for record in self._registry.all()]})

    async def _submit(self, request: Request) -> Response:
        try:
            values = json.loads(await request.body())
        except UNREADABLE as error:
            return _error(422, f"the body is not JSON ({error}), expected an object")
        try:
            spec = ReplaySpec.from_request(values)
        except ValueError as error:
            return _error(422, str(error))
        try:
            record, is_new = await run_in_threadpool(self._registry.submit, spec)
        except ValueError as error:
            return _error(422, str(error))
        except ConflictError as error:
            return _error(409, str(error))
        except LedgerError as error:
            return _error(503, f"whether another host sent a part of it is not known: {error}")
        except OSError as error:
            return _error(507, f"the replay can't be recorded, so it was not started: {error}")
        return JSONResponse(record.to_json(), 201 if is_new else 200)

    async def _get(self, request: Request) -> Response:
        record = self._registry.get(request.path_params["replay_id"])
        return JSONResponse(record.to_json()) if record else _not_found(request)

    async def _stop(self, request: Request) -> Response:
        return await self._ended(request, self._registry.stop)

    async def _seal(self, request: Request) -> Response:
        try:
            sealed_at = json.loads(await request.body())["sealed_at"]
            sealed_at = datetime.fromisoformat(sealed_at).astimezone(UTC).isoformat(timespec="milliseconds")
        except UNREADABLE as error:
            return _error(422, f'the body is no {{"sealed_at": TIME in ISO-8601}}: {error}')
        return await self._ended(request, self._registry.seal, sealed_at)

    async def _give_up(self, request: Request) -> Response:
        return await self._ended(request, self._registry.give_up)

    async def _ended(
        self, request: Request, mark: Callable[..., ReplayRecord | None], *values: str
    ) -> Response:
        """Mark a replay that has ended."""
        try:
            record = await run_in_threadpool(mark, request.path_params["replay_id"], *values)
        except ConflictError as error:
            return _error(409, str(error))
        except LedgerError as error:
            return _error(503, f"what other hosts know of it is not known: {error}")
        except OSError as error:
            return _error(507, f"it can't be recorded: {error}")
        return JSONResponse(record.to_json()) if record else _not_found(request)

    async def _follows(self, _: Request) -> Response:
        return JSONResponse({"follows": await run_in_threadpool(self._engine.all)})

    async def _follow(self, request: Request) -> Response:
        try:
            values = json.loads(await request.body())
        except UNREADABLE as error:
            return _error(422, f"the body is not JSON ({error}), expected an object")
        try:
            asked = Follow.from_request(values, self._engine.settings.host)
            follows, is_new = await run_in_threadpool(self._engine.follow, asked)
        except ValueError as error:
            return _error(422, str(error))
        except OSError as error:
            return _error(507, f"it can't be recorded, so it is not followed: {error}")
        return JSONResponse({"follows": follows}, 201 if is_new else 200)

    async def _followed(self, request: Request) -> Response:
        found = await run_in_threadpool(self._engine.get, request.path_params["follow_id"])
        return JSONResponse(found) if found else _not_followed(request)

    async def _unfollow(self, request: Request) -> Response:
        found = await run_in_threadpool(self._engine.stop, request.path_params["follow_id"])
        return JSONResponse(found) if found else _not_followed(request)


def _not_followed(request: Request) -> JSONResponse:
    return _error(
        404, f"there is no followed log {request.path_params['follow_id']!r}: GET /follows lists all"
    )


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _not_found(request: Request) -> JSONResponse:
    return _error(404, f"there is no replay {request.path_params['replay_id']!r}: GET /replays lists all")
