"""Work in a thread, told to the page as server-sent events. Law: when nobody reads on, the work stops."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

Tell = Callable[[dict[str, Any]], None]


def event(message: Any) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(message, ensure_ascii=False, allow_nan=False)}\n\n"


async def told(work: Callable[[Tell, Callable[[], bool]], None], closing: Callable[[], bool]) -> AsyncIterator[str]:
    """Do `work(tell, stopped)` in a thread, and yield what it tells.

    When the reader goes away this generator is closed; from then on `stopped()` holds, and the thread is expected to
    end soon. What the work raises is raised here.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    gone = threading.Event()
    raised: list[BaseException] = []

    def put(message: dict[str, Any] | None) -> None:
        if not gone.is_set():
            with suppress(RuntimeError):  # the server ended, and its loop with it
                loop.call_soon_threadsafe(queue.put_nowait, message)

    def go() -> None:
        try:
            work(put, lambda: gone.is_set() or closing())
        except BaseException as error:
            raised.append(error)
        put(None)

    thread = threading.Thread(target=go, name="answer", daemon=True)
    thread.start()
    try:
        while (message := await queue.get()) is not None:
            yield event(message)
    finally:
        gone.set()
    if raised:
        raise raised[0]
