"""Who may ask a server at all: whoever was shown its address.

Every request must name the token in its path, and a host that no foreign web page can make a browser use (DNS
rebinding); a message must come from the server's own page. Heads are bounded.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from attar.serving.connections import LARGEST_HEAD, App, Scope


def guarded(app: App, token: str, names: Iterable[str] = ()) -> App:
    """Answer only who knows the token and calls the server by a name of its own.

    Args:
        app: the application; paths that it gets begin with the token.
        token: what the address holds.
        names: host names that are the server's own, beside `localhost` and any numeric address.
    """
    own = {"localhost", *names}

    async def guard(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        await (_unwelcome(scope, token, own) or app)(scope, receive, sealed(send))

    return guard


def _unwelcome(scope: Scope, token: str, names: set[str]) -> Any:
    if len(scope["raw_path"]) + sum(len(key) + len(value) for key, value in scope["headers"]) > LARGEST_HEAD:
        return refusal(431, f"A request's address and headers have at most {LARGEST_HEAD} bytes.")
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    host = headers.get("host", "")
    if not _own(host, names):
        return refusal(421, "This address is not the server's. Use the one that it printed.")
    given = scope["path"].partition("/")[2].partition("/")[0].encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(given, token.encode()):
        return refusal(404, "Not found.")
    origin = headers.get("origin")
    if scope["method"] == "POST" and origin is not None and origin != f"{scope['scheme']}://{host}":
        return refusal(403, "Only the server's own page may post.")
    return None


def _own(host: str, names: set[str]) -> bool:
    """A numeric address can only be reached by who means it; a name could be any web page's that resolves to here."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d+)?", host)
    if match is None:
        return False
    name = match[1].strip("[]").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


def sealed(send: Any) -> Any:
    """Add to each answer what makes the page isolated from other sites, and other sites from it."""
    headers = [
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-embedder-policy", b"require-corp"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]

    async def sealed(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return sealed


def refusal(status: int, reason: str) -> Any:
    """An answer that says in JSON why there is none."""
    from starlette.responses import JSONResponse

    return JSONResponse({"error": reason}, status)
