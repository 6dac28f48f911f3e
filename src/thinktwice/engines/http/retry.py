"""What an attempt without a reply means, and the time in which attempts are made."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal


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
