"""Ask a server, again where another attempt can cure it, and give up with one sentence.

Law: what comes back was read to its end, within the time allowed, from the address that was named; a redirect to
another place is an answer like any other, and is not followed.
"""

import http.client
import ipaddress
import json
import os
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from typing import IO, Any, TypeVar

from thinktwice.errors import ConfigError, EngineError
from thinktwice.retry import again, retry_after, wait

LARGEST_BODY = 64 << 20
"""Bytes; a server that sends more is not what it was taken for."""

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for."""

    timeout_s: float = 20.0
    """For each attempt, until something comes."""
    attempts: int = 5
    longest_wait_s: float = 120.0
    """A server that asks for a longer pause is given up."""
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    uniform: Callable[[float, float], float] = field(default_factory=lambda: random.Random().uniform)

    def __post_init__(self) -> None:
        if not (self.timeout_s > 0 and self.attempts >= 1):
            raise ConfigError(f"timeout_s={self.timeout_s} and attempts={self.attempts} must be above 0.")


class Passing(Exception):  # noqa: N818  a verdict on an answer, not an error of ours
    """Raised by a reader for an answer that another attempt may better; its text says what was wrong."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Refused(EngineError):  # noqa: N818
    """A server that will not answer this request, however often it is asked."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    def json(self) -> Any:
        """Return the body's value; raises `Passing` where it is no JSON, as a page of a proxy in between."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            start = " ".join(self.body[:80].decode("utf-8", "replace").split())
            raise Passing(f"status {self.status}, not JSON but {start!r}") from None


def ask(
    request: urllib.request.Request, read: Callable[[Reply], Read], patience: Patience, *, cure: str = "Is it running?"
) -> Read:
    """Send a request until `read` is content with the reply.

    Args:
        request: address, body and headers.
        read: makes something of a reply below 400; raises `Passing` for one that may be better next time.
        patience: attempts, pauses, and the time for each.
        cure: what to do when it never answers; ends the error's sentence.

    Raises:
        EngineError: the server refuses (`Refused`), or there was no good reply in all attempts.
    """
    address = request.full_url.split("?")[0]
    reason = ""
    for attempt in range(1, patience.attempts + 1):
        asked_s = None
        try:
            reply = _send(request, patience.timeout_s)
            if reply.status < 300:
                return read(reply)
            reason = f"status {reply.status}{_told(reply)}"
            if not again(reply.status):
                raise Refused(f"{address} refused: {reason}. {cure}", reply.status)
            asked_s = retry_after(reply.headers, patience.now())
        except Passing as error:
            reason, asked_s = str(error), error.wait_s
        except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, broken off
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        if asked_s is not None and asked_s > patience.longest_wait_s:
            raise EngineError(f"{address} wants to be left alone for {asked_s:.0f} s ({reason}). Come back later.")
        if attempt < patience.attempts:
            patience.sleep(wait(attempt, asked_s, patience.uniform))
    attempts = "1 attempt" if patience.attempts == 1 else f"{patience.attempts} attempts"
    raise EngineError(f"{address} gave no answer in {attempts} ({reason}). {cure}")


def address_of(text: str) -> str:
    """Return an address without its trailing slash.

    Raises:
        ConfigError: it is no http(s) address, or has a password in it.
    """
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ConfigError(f"{parts.hostname or text!r} is no address of a server; write http://HOST:PORT.")
    return text.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Say whether a host is this machine, as only itself sees it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _send(request: urllib.request.Request, timeout_s: float) -> Reply:
    """Send once, over this thread's open connection where there is one: opening another costs more than a search."""
    parts = urllib.parse.urlsplit(request.full_url)
    if not is_loopback(parts.hostname) and _proxied(parts.scheme, parts.hostname or ""):
        return _through_proxy(request, timeout_s)
    headers = {**dict(request.header_items()), "Host": parts.netloc}
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    while True:
        connection = _connection(parts.scheme, parts.netloc)
        reused = connection.sock is not None
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        try:
            connection.request(request.get_method(), target, request.data, headers)
            with connection.getresponse() as response:
                return _whole(response.status, response.headers, response)
        except BaseException as error:
            connection.close()  # what is left of a broken answer must not be taken for the next one
            if not (reused and isinstance(error, ConnectionError)):  # else it had hung up while nothing was asked
                raise


class _Line:
    """Hangs up when its thread is gone, but never for another process."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection, self.process = connection, os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self.process:
            self.connection.close()


_lines = threading.local()


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    """Return this thread's connection to a server, open or not."""
    mine: dict[tuple[int, str, str], _Line] = _lines.__dict__.setdefault("of_process", {})
    key = (os.getpid(), scheme, netloc)
    if key not in mine:
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        mine[key] = _Line(kind(netloc))
    return mine[key].connection


def _proxied(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _through_proxy(request: urllib.request.Request, timeout_s: float) -> Reply:
    try:
        with _opener().open(request, timeout=timeout_s) as response:
            return _whole(response.status, response.headers, response)
    except urllib.error.HTTPError as error:
        with error:
            return _whole(error.code, error.headers, error)


def _whole(status: int, headers: Message, body: IO[bytes]) -> Reply:
    data = body.read(LARGEST_BODY + 1)
    if len(data) > LARGEST_BODY:
        raise http.client.HTTPException(f"more than {LARGEST_BODY >> 20} MiB")
    return Reply(status, {name.lower(): value for name, value in headers.items()}, data)


def _told(reply: Reply) -> str:
    """Return what a JSON error says of itself, shortly."""
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return ""
    found = value.get("error") or value.get("detail") if isinstance(value, Mapping) else None
    return f", {found[:200]!r}" if isinstance(found, str) else ""


class _NotFollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NotFollowed)
