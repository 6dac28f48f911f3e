"""When to ask a server again. Law: only what another attempt can cure, and never sooner than the server asks."""

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0


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


def wait(attempt: int, asked_s: float | None, uniform: Callable[[float, float], float]) -> float:
    """Return the wait after attempt number `attempt` (from 1): never less than the server asked for.

    Exponential with full jitter (Brooker 2015, "Exponential Backoff And Jitter"), so that requests that failed together
    do not come back together.
    """
    ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
    return uniform(0.0, ceiling) if asked_s is None else asked_s + uniform(0.0, min(ceiling, FIRST_WAIT_S))
