"""HTTP for the page of reviewers, for who knows the address (`attar.serving.guard`).

GET  queue?state=open      observations, the most disputed first, and how many there are
GET  labels                every label that can be chosen
GET  photos/SHA256.jpg     a photo
POST decisions             one decision; 409 with the observation as it is now if somebody else was first
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attar.deploy.collect.store import Action, Refused, Store
from attar.deploy.review.queue import Queue, State
from attar.errors import AttarError
from attar.extras import require
from attar.serving.connections import App
from attar.serving.guard import guarded, refusal

T = TypeVar("T")

PAGE = Path(__file__).with_name("page")
_LIMIT = 100
"""Observations of one answer."""
_LARGEST = 16 << 10
"""Bytes of a decision."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Decision(BaseModel):
    """What the page posts."""

    model_config = ConfigDict(extra="forbid")

    observation: str = Field(max_length=64)
    reviewer: str
    action: Action
    label: str = ""
    seen: int = Field(ge=0)


def make_app(store: Store, queue: Queue, labels: Sequence[str], token: str, names: set[str] | None = None) -> App:
    """The ASGI application.

    Args:
        store: what was collected.
        queue: of the same store.
        labels: that can be chosen, beside those that observations name.
        token: what the address holds.
        names: host names that are this machine's own.
    """
    require("starlette")
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    answers = _Answers(store, queue, labels)
    inside = [
        Route("/queue", answers.queue, methods=["GET"]),
        Route("/labels", answers.labels, methods=["GET"]),
        Route("/photos/{name}.jpg", answers.photo, methods=["GET"]),
        Route("/decisions", answers.decide, methods=["POST"]),
        Route("/{name:path}", answers.file, methods=["GET"]),
    ]
    return guarded(Starlette(routes=[Mount("/{token}", routes=inside)]), token, names or ())


class _Answers:
    """The endpoints."""

    def __init__(self, store: Store, queue: Queue, labels: Sequence[str]) -> None:
        self._store, self._queue, self._labels = store, queue, labels
        self._files = {**{path.name: path for path in PAGE.iterdir()}, "": PAGE / "review.html"}
        self._turns = threading.Lock()

    async def file(self, request: Any) -> Any:
        """One of a fixed table of files; the token's own address is the page."""
        from starlette.responses import FileResponse

        path = self._files.get(request.path_params["name"])
        if path is None:
            return refusal(404, "No such file.")
        media = {".js": "text/javascript", ".css": "text/css"}.get(path.suffix, "text/html")
        return FileResponse(path, media_type=f"{media}; charset=utf-8", headers={"Content-Security-Policy": _POLICY})

    async def queue(self, request: Any) -> Any:
        """Observations and counts."""
        try:
            state = State(request.query_params.get("state", State.OPEN))
        except ValueError:
            return refusal(400, f"The state is one of {', '.join(State)}.")

        def read() -> dict[str, Any]:
            self._queue.refresh()
            return {"counts": self._queue.counts(), "observations": self._queue.page(state, _LIMIT)}

        return _json(200, await self._in_turn(read))

    async def labels(self, request: Any) -> Any:
        """All labels, those that the model knows first."""

        def read() -> list[str]:
            self._queue.refresh()
            return list(dict.fromkeys([*self._labels, *sorted(self._queue.labels)]))

        return _json(200, {"labels": await self._in_turn(read)})

    async def photo(self, request: Any) -> Any:
        """A photo by its SHA-256; it never changes."""
        from starlette.responses import FileResponse

        name = request.path_params["name"]
        path = self._store.photo(name) if re.fullmatch("[0-9a-f]{64}", name) else None
        if path is None or not path.is_file():
            return refusal(404, "No such photo.")
        return FileResponse(path, media_type="image/jpeg")

    async def decide(self, request: Any) -> Any:
        """One decision."""
        try:
            given = _Decision.model_validate_json(await _read(request))
        except ValidationError as error:
            return refusal(400, f"Not a decision: {error.errors()[0]['msg']}.")
        except _TooLarge:
            return refusal(413, f"A decision has at most {_LARGEST} bytes.")

        def write() -> Any:
            status, problem = 200, ""
            try:
                self._store.decide(given.observation, given.reviewer, given.action, given.label, given.seen)
            except Refused as error:
                status, problem = 409, str(error)
            self._queue.refresh()
            known = self._queue.one(given.observation)
            if known is None:
                status = 404
            return _json(status, {"error": problem, "observation": known, "counts": self._queue.counts()})

        try:
            return await self._in_turn(write)
        except AttarError as error:
            return refusal(507, str(error))

    async def _in_turn(self, ask: Callable[[], T]) -> T:
        """The store has one connection here, which threads take turns at."""

        def waiting() -> T:
            with self._turns:
                return ask()

        return await asyncio.to_thread(waiting)


class _TooLarge(Exception):
    pass


async def _read(request: Any) -> bytes:
    """The body; it is never held in memory beyond its bound."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise _TooLarge
    return bytes(body)


def _json(status: int, value: Any) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(value, status)
