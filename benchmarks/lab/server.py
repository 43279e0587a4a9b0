"""HTTP for the lab: a fixed table of files, four kinds of messages, and nothing for who does not know the token.

Who may ask at all is `attar.serving.guard`'s to say; bodies are bounded here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attar.benchmarks.lab.inbox import Done, Failure, Hello, Ready, Refused, Round, parse
from attar.benchmarks.lab.laboratory import Laboratory
from attar.errors import AttarError
from attar.export.web.assets import OPENER, Assets
from attar.extras import require
from attar.serving.connections import App
from attar.serving.guard import guarded, refusal

PAGE = Path(__file__).with_name("page")
MESSAGES: dict[str, Any] = {"ready": Ready, "failed": Failure, "round": Round, "done": Done}
"""What a session takes, by the last part of its address."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_SMALL = 64 << 10
_BODY_SECONDS = 30


def make_app(
    laboratory: Laboratory,
    assets: Assets,
    token: str,
    *,
    after: Callable[[], None] = lambda: None,
    names: Iterable[str] = (),
) -> App:
    """The ASGI application.

    Args:
        laboratory: takes the messages.
        assets: the runtimes to serve.
        token: what the address holds.
        after: called when a device has finished.
        names: host names that are the lab's own, beside `localhost` and any numeric address.
    """
    require("starlette")
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    @asynccontextmanager
    async def watching(_: Any) -> AsyncIterator[None]:
        watch = asyncio.create_task(_watch(laboratory))
        yield
        watch.cancel()

    answers = _Answers(laboratory, assets, after)
    inside = [
        Route("/sessions", answers.hello, methods=["POST"]),
        Route("/sessions/{session}/closed", answers.closed, methods=["POST"]),
        Route("/sessions/{session}/{kind}", answers.message, methods=["POST"]),
        Route("/{name:path}", answers.file, methods=["GET"]),
    ]
    app = Starlette(routes=[Mount("/{token}", routes=inside)], lifespan=watching)  # `guarded` has checked it
    return guarded(app, token, names)


class _Answers:
    """The endpoints."""

    def __init__(self, laboratory: Laboratory, assets: Assets, after: Callable[[], None]) -> None:
        plan = laboratory.plan
        self._laboratory, self._after = laboratory, after
        own = {path.name: path for path in (*PAGE.iterdir(), OPENER)}
        self._files = {**own, "": PAGE / "page.html", **assets.table()}
        # Models are read once: what was checked against the manifest is what is served, whatever happens on disk.
        self._contents = {"pixels": plan.pixels.tobytes()}
        self._contents |= {f"files/{number}": content for number, content in enumerate(plan.contents)}
        runtimes = [f"{name} {assets.versions[name]} ({assets.licences[name]})" for name in assets.versions]
        self._about = {
            "name": plan.name,
            "files": len(plan.entries),
            "seconds": plan.seconds,
            "threads": plan.threads,
            "runtimes": runtimes,
        }
        classes = max(answers.shape[1] for answers in plan.expected.values())
        self._largest = _SMALL + 32 * len(plan.pixels) * classes
        self._policy = _policy()

    async def file(self, request: Any) -> Any:
        """One of a fixed table of files; the token's own address is the page."""
        from starlette.responses import FileResponse, JSONResponse, Response

        name = request.path_params["name"]
        if name == "about":
            return JSONResponse(self._about)
        if name in self._contents:
            return Response(self._contents[name], media_type="application/octet-stream")
        path = self._files.get(name)
        if path is None:
            return refusal(404, "No such file.")
        headers = {"Content-Security-Policy": self._policy}
        media = _TYPES.get(path.suffix, "application/octet-stream")
        return FileResponse(path, media_type=media, headers=headers)

    async def hello(self, request: Any) -> Any:
        """A device begins."""
        return await self._answer(request, lambda body: self._laboratory.hello(parse(Hello, body)))

    async def message(self, request: Any) -> Any:
        """A device tells how far it is."""
        kind, session = request.path_params["kind"], request.path_params["session"]
        if kind not in MESSAGES:
            return refusal(404, "No such message.")
        take = getattr(self._laboratory, kind)
        response = await self._answer(request, lambda body: take(session, parse(MESSAGES[kind], body)))
        if kind == "done" and response.status_code == 200:
            self._after()
        return response

    async def closed(self, request: Any) -> Any:
        """A device's page was left."""
        return await self._answer(request, lambda _: self._laboratory.closed(request.path_params["session"]))

    async def _answer(self, request: Any, take: Callable[[bytes], dict[str, Any]]) -> Any:
        from starlette.responses import JSONResponse

        try:
            # In the event loop, one after another: what two devices post never interleaves, and it is quick.
            return JSONResponse(take(await _read(request, self._largest)))
        except Refused as refused:
            return refusal(refused.status, refused.reason)
        except AttarError as error:
            return refusal(507, str(error))


async def _read(request: Any, largest: int) -> bytes:
    """The body, or `Refused`: it is never held in memory beyond its bound, nor waited for without end."""
    from starlette.requests import ClientDisconnect

    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refused(415, "Messages are JSON.")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise Refused(413, f"A message has at most {largest} bytes.")
    except ClientDisconnect:
        raise Refused(400, "The message was cut off.") from None
    except TimeoutError:
        raise Refused(408, "The message did not come in time.") from None
    return bytes(body)


def _policy() -> str:
    """Content-Security-Policy: our own files only; the import map, which must stand in the page, by its hash."""
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    [inline] = re.findall(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    # Threads of ONNX Runtime Web start from a blob of its own code.
    return (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; style-src 'self'; "
        "connect-src 'self'; worker-src 'self' blob:; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


async def _watch(laboratory: Laboratory) -> None:
    while True:
        await asyncio.sleep(1)
        laboratory.sweep()
