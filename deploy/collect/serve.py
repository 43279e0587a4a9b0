"""`attar collect`: invite people, and receive what they send."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from attar.console import say
from attar.deploy.collect.cleaning import Cleaner
from attar.deploy.collect.store import Invitation, Store, opened
from attar.errors import InputError
from attar.extras import require
from attar.serving.addresses import address_of, is_loopback, listen, show_code
from attar.serving.http import make_server

if TYPE_CHECKING:
    from rich.table import Table

PORT = 8750


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    address: str | None = None,
    page: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Receive observations until Ctrl-C.

    Args:
        folder: what they are kept in; made if there is none.
        host: address to listen on; 0.0.0.0 for all of this machine's.
        port: 0 for any free one.
        address: where phones reach the server, if that is another place than it listens on: behind a proxy.
        page: where the app is that `attar app --collect` wrote, so that invitations open it.
        certificate: PEM file; with one the server speaks HTTPS.
        key: its private key, if not in the same file.

    Raises:
        InputError: the folder is something else, or the address cannot be had.
        MissingExtra: starlette, uvicorn or segno is not installed.
    """
    for module in ("starlette", "uvicorn", "segno"):
        require(module)
    from attar.deploy.collect.server import make_app

    with opened(folder, create=True) as store, Cleaner() as cleaner, listen(host, port) as listening:
        server = make_server(make_app(store, cleaner), certificate, key)
        scheme = "https" if certificate else "http"
        own = f"{scheme}://{address_of(host)}:{listening.getsockname()[1]}"
        store.address = place = (address or own).rstrip("/")
        if page:
            store.page = page_of(page)
        _show(store, place, loopback=address is None and is_loopback(host))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _show(store: Store, address: str, loopback: bool) -> None:
    say(f"Receiving observations at {address}, in {store.folder}")
    if not any(each.revoked is None for each in store.invitations()):
        say(f"Nobody is invited yet: attar collect {store.folder} --invite NAME")
    if loopback:
        say("Only this machine can reach that: give --host 0.0.0.0 for phones on this network.")
    elif address.startswith("http:"):
        say("Over plain HTTP anyone on the network can read along: give --certificate, or use a proxy that has one.")
    say("Ctrl-C ends it; what was received stays.")


def invite(store: Store, contributor: str, quota: int, address: str | None, page: str | None = None) -> str:
    """A new invitation -> the link that the person is given. It is shown once: the store keeps no token.

    The link opens the app if it is known where that is, with the token behind `#`, which browsers send to nobody.
    Else it is the server's address with the token, for senders of one's own and for pasting into the app.

    Raises:
        InputError: the person has one already, or nobody knows where the server is.
    """
    if page:
        store.page = page_of(page)
    place = (address or store.address or "").rstrip("/")
    if not store.page and not place.startswith(("http://", "https://")):
        raise InputError(
            f"Where do phones reach the server? Give --address https://..., or start `attar collect {store.folder}` "
            "once before inviting."
        )
    token = store.invite(contributor, quota)
    link = f"{store.page}#invitation={token}" if store.page else f"{place}/{token}"
    say(f"For {contributor}, who may send {quota:,} observations. Anyone who has this link can send under that name:")
    show_code(link)
    return link


def page_of(text: str) -> str:
    """The app's address, as links begin.

    Raises:
        InputError: it is none.
    """
    if not text.startswith(("http://", "https://")) or "#" in text or any(each.isspace() for each in text):
        raise InputError(f"--app {text!r}: not a page's address, such as https://example.org/plants/.")
    return text


def invitations_table(invitations: list[Invitation]) -> Table:
    """Who was invited, and how much they sent."""
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for title in ("Contributor", "Invited", "Sent", "Allowed", "Revoked"):
        table.add_column(title, overflow="fold", justify="right" if title in ("Sent", "Allowed") else "left")
    for each in invitations:
        day = (each.revoked or "")[:10]
        table.add_row(Text(each.contributor), each.made[:10], f"{each.used:,}", f"{each.quota:,}", day)
    return table
