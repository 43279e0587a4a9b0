"""HTTP for observations: one request per observation, answered only once it is on the disk.

    PUT /TOKEN/observations/ID      the photo as the body, the observation as JSON in the header `X-Observation`
    GET /TOKEN                      who the invitation is for, and how much of it is used

The token in the address is the invitation. It is a secret of its own, no cookie is read, and so pages of any origin may
send (CORS). `ID` is the observation's UUID: sending one again changes nothing and is answered with 200 instead of 201,
so a sender that was cut off simply sends again. Bodies are bounded before they are read, and photos are decoded
elsewhere (`cleaning`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attar.data.images import UnreadableImage
from attar.data.observations import Observation, read_observation
from attar.deploy.collect.cleaning import LARGEST, Cleaner
from attar.deploy.collect.store import Kept, NotAllowed, Refused, Store
from attar.errors import AttarError, InputError
from attar.extras import require
from attar.serving.connections import LARGEST_HEAD, App, Scope
from attar.serving.guard import refusal

T = TypeVar("T")

HEADER = "x-observation"
_BODY_SECONDS = 60
_AT_ONCE = 32
"""Photos that are received or decoded at the same time; more wait."""


class _Answer(Exception):
    """Ends a request with a status and a text for the sender."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def make_app(store: Store, cleaner: Cleaner) -> App:
    """The ASGI application."""
    require("starlette")
    from starlette.applications import Starlette
    from starlette.routing import Route

    answers = _Answers(store, cleaner)
    routes = [
        Route("/{token}/observations/{id}", answers.observation, methods=["PUT"]),
        Route("/{token}", answers.invitation, methods=["GET"]),
    ]
    return _open(Starlette(routes=routes))


class _Answers:
    """The endpoints."""

    def __init__(self, store: Store, cleaner: Cleaner) -> None:
        self._store, self._cleaner = store, cleaner
        self._turns, self._places = threading.Lock(), asyncio.Semaphore(_AT_ONCE)

    async def invitation(self, request: Any) -> Any:
        """Whom the token is for."""
        contributor = await self._contributor(request)
        if contributor is None:
            return refusal(404, _UNKNOWN)
        found = await self._asked(lambda: {each.contributor: each for each in self._store.invitations()})
        own = found[contributor]
        return _json(200, {"contributor": contributor, "used": own.used, "quota": own.quota})

    async def observation(self, request: Any) -> Any:
        """Take an observation with its photo."""
        try:
            contributor = await self._contributor(request)
            if contributor is None:
                raise _Answer(404, _UNKNOWN)
            observation = _observation(request, contributor)
            async with self._places:
                kept = await self._take(request, observation)
        except _Answer as answer:
            return refusal(answer.status, str(answer))
        return _json(201 if kept is Kept.NEW else 200, {"kept": kept.value})

    async def _take(self, request: Any, observation: Observation) -> Kept:
        with tempfile.TemporaryDirectory(prefix="attar-collect-") as folder:
            path = Path(folder) / "photo"
            sent = await _received(request, path)
            try:
                photo = await asyncio.to_thread(self._cleaner.clean, path)
                return await self._asked(lambda: self._store.add(observation, photo, sent))
            except UnreadableImage as error:
                raise _Answer(422, f"The photo cannot be used: {error}.") from error
            except NotAllowed as error:
                raise _Answer(403, str(error)) from error
            except Refused as error:
                raise _Answer(409, str(error)) from error
            except AttarError as error:  # the disk is full, or read-only
                raise _Answer(507, str(error)) from error

    async def _contributor(self, request: Any) -> str | None:
        token = request.path_params["token"]
        return await self._asked(lambda: self._store.contributor(token))

    async def _asked(self, ask: Callable[[], T]) -> T:
        """The store's answer; it has one connection, which threads take turns at."""

        def in_turn() -> T:
            with self._turns:
                return ask()

        return await asyncio.to_thread(in_turn)


_UNKNOWN = "This invitation is unknown, or was revoked. Ask who gave it to you for another."


def _observation(request: Any, contributor: str) -> Observation:
    """What the header says, as the contributor's."""
    try:
        plain = json.loads(base64.b64decode(request.headers.get(HEADER, ""), validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _Answer(400, "The header X-Observation is not JSON in base64.") from None
    if not isinstance(plain, dict):
        raise _Answer(400, "The header X-Observation is not a JSON object.")
    try:
        observation = read_observation({**plain, "contributor": contributor}, "X-Observation")
    except InputError as error:
        raise _Answer(400, str(error)) from error
    if request.path_params["id"] != str(observation.id):
        raise _Answer(400, "The address names another observation than the header X-Observation.")
    return observation


async def _received(request: Any, path: Path) -> str:
    """Write the body to a file -> its SHA-256. It is bounded in bytes and time."""
    from starlette.requests import ClientDisconnect

    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > LARGEST:
        raise _Answer(413, f"A photo has at most {LARGEST >> 20} MiB.")
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb") as stream:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > LARGEST:
                        raise _Answer(413, f"A photo has at most {LARGEST >> 20} MiB.")
                    digest.update(chunk)
                    stream.write(chunk)
    except ClientDisconnect:
        raise _Answer(400, "The photo was cut off.") from None
    except TimeoutError:
        raise _Answer(408, "The photo did not come in time.") from None
    except OSError as error:
        raise _Answer(507, f"The photo cannot be written here: {error.strerror}.") from error
    return digest.hexdigest()


def _open(app: App) -> App:
    """Answer pages of any origin, and refuse heads that are too long."""
    headers = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", b"GET, PUT"),
        (b"access-control-allow-headers", b"X-Observation, Content-Type"),
        (b"access-control-max-age", b"86400"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]

    async def opened(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return

        async def answered(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *headers]}
            await send(message)

        size = len(scope["raw_path"]) + sum(len(key) + len(value) for key, value in scope["headers"])
        if size > LARGEST_HEAD:
            await refusal(431, f"A request's address and headers have at most {LARGEST_HEAD} bytes.")(
                scope, receive, answered
            )
        elif scope["method"] == "OPTIONS":
            await _json(200, {})(scope, receive, answered)
        else:
            await app(scope, receive, answered)

    return opened


def _json(status: int, value: dict[str, Any]) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(value, status)
