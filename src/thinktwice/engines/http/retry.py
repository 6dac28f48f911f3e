"""When to ask again, and when. Law: only what another attempt can cure is asked again, and never past the deadline."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Literal

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Time and chance as the client sees them; a test puts its own here."""

    clock: Callable[[], float] = time.monotonic
    """Seconds on a clock that only moves forward."""
    now: Callable[[], float] = time.time
    """Seconds since 1970, to read dates a server names."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = field(default_factory=lambda: random.Random().uniform)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An attempt that brought no reply, and what that means."""

    remedy: Literal["again", "never", "stop"]
    """again: another attempt may bring it; never: this request has no reply; stop: no request will have one."""
    reason: str
    """One sentence, without anything secret."""
    bad_reply: bool = False
    """The server did answer, with something that is no reply."""
    wait_s: float | None = None
    """How long the server asks to be left alone."""
    answered: bool = True
    """False when there was no connection at all."""


def again(status: int) -> bool:
    """Say whether an HTTP status may pass: a time-out, a conflict, too many requests, a fault of the server."""
    return status in (408, 409, 429) or 500 <= status <= 599


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds the server asks to wait (Retry-After in seconds or as a date), None if it does not."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value:
        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def wait(attempt: int, asked_s: float | None, pace: Pace) -> float:
    """Return the wait after attempt number `attempt` (from 1): never less than the server asked for.

    Exponential with full jitter (Brooker 2015, "Exponential Backoff And Jitter"), so that requests that failed together
    do not come back together.
    """
    ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
    return pace.uniform(0.0, ceiling) if asked_s is None else asked_s + pace.uniform(0.0, min(ceiling, FIRST_WAIT_S))
