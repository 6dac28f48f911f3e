"""Who may talk to the page. Law 9: this machine only, this page only, and nothing a model wrote can run.

A page on loopback is within reach of every web site that is open in the same browser. Three doors are shut:

* a foreign name that resolves to this machine (DNS rebinding): the Host header must be an address or a name of it;
* another site's form or script: whatever computes is asked by POST, with JSON, from this page itself;
* text that becomes a script: a content policy without inline scripts, no sniffing, no framing, no referrer.
"""

import ipaddress
import socket
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The content policy of the pages of `ui` itself: no inline script, no inline style, nothing from elsewhere."""
OWN_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of a page that carries its own, stricter policy in a `<meta>` tag: what a `<meta>` tag cannot say."""

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses requests that do not come to this machine by its own name; puts safe headers on every answer."""

    def __init__(self, app: ASGIApp, *, exposed: bool = False) -> None:
        """Wrap an application; `exposed` lets other machines in, by this one's address or own name."""
        self._app = app
        self._exposed = exposed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if is_own_name(host, exposed=self._exposed):
            await self._app(scope, receive, guarded)
        else:
            words = "This page answers to its own address only, such as http://127.0.0.1:8421."
            await PlainTextResponse(words, status_code=421)(scope, receive, guarded)


def is_own_name(host: str, *, exposed: bool = False) -> bool:
    """Say whether a Host header names this machine: loopback, or, when exposed, any address or its own name.

    An address is never the result of a rebinding, which needs a name that its owner can point elsewhere.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        own = {"localhost"} | ({socket.gethostname().lower(), socket.getfqdn().lower()} if exposed else set())
        return name in own
    return exposed or address.is_loopback


def is_own_page(request: Request) -> bool:
    """Say whether a request to compute comes from this page (or from no browser at all), as JSON.

    Another site can neither send JSON without asking first, which is refused, nor forge these headers.
    """
    headers = request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return False
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _add_headers(message: MutableMapping[str, Any]) -> None:
    given = {name.lower() for name, _ in message.setdefault("headers", [])}
    more = {**ALWAYS, "content-security-policy": POLICY}
    message["headers"] = [
        *message["headers"],
        *((name.encode(), value.encode()) for name, value in more.items() if name.encode() not in given),
    ]
