"""Ask a server many things at once, and pay for each thing once."""

import asyncio
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from thinktwice.engines.http.cache import key_of
from thinktwice.engines.http.endpoint import Endpoint, Failure, Kind, Reply, Request, Result, Spending, Usage
from thinktwice.engines.http.replies import Replies
from thinktwice.engines.http.retry import Pace
from thinktwice.engines.http.wire import Wire
from thinktwice.errors import ConfigError, EngineError
from thinktwice.retry import FIRST_WAIT_S, wait

log = logging.getLogger(__name__)

Listener = Callable[[int, Result], None]
"""Told `(index, result)` as results come in, in the caller's thread."""

FREE_FAILURES = 10
POLL_S = 0.05


class Client:
    """Requests in, replies out. Law: order and length are preserved, and a request that fails is data.

    A reply is on the disk before it is handed out, so a killed run that is started again pays only for what had not
    come back. The same request in flight twice, from any thread, is sent once (`cache` says what holds between
    processes). May be shared by threads; `concurrency` bounds all of them together.

        >>> with Client(Endpoint("Qwen/Qwen3-8B", "http://localhost:8000/v1"), Path("replies.sqlite")) as client:
        ...     [reply] = client.chat([Request("Name a prime.")])
    """

    def __init__(self, endpoint: Endpoint, cache: Path | None, *, pace: Pace | None = None) -> None:
        """Take a server and the file of its replies (None: keep nothing).

        Raises:
            ConfigError: the openai package is missing, or the key or the address cannot be used.
            DataError: the cache is damaged.
        """
        self.endpoint = endpoint
        self._pace = pace or Pace()
        self._wire = Wire(endpoint, self._pace)
        self._replies = Replies(cache)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opening = threading.Lock()
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._flights: dict[str, asyncio.Future[Result | None]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._quiet_until = float("-inf")
        self._reached = False
        self._asked = 0
        self._reasons: Counter[str] = Counter()
        self._spending = Spending()

    def __repr__(self) -> str:
        """Name the model and the server."""
        return f"Client({self.endpoint.model!r} at {self._wire.address})"

    def __enter__(self) -> "Client":
        """Open nothing: that happens with the first request."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def spending(self) -> Spending:
        """What was asked and paid for so far."""
        return self._spending

    def chat(self, requests: Sequence[Request], *, listener: Listener | None = None) -> list[Result]:
        """Answer conversations; a text stands for one user message.

        Raises:
            ConfigError: the server refuses the key or does not have the model (the message says which ones it has).
            EngineError: no server is there, or more than `max_failures` of all requests failed.
            RunError: a reply could not be written down.
        """
        return self._run("chat", requests, listener)

    def complete(self, requests: Sequence[Request], *, listener: Listener | None = None) -> list[Result]:
        """Continue texts, or token ids where the server takes them. Raises what `chat` raises."""
        return self._run("completions", requests, listener)

    def close(self) -> None:
        """Hang up; replies that have arrived are written down first."""
        with self._opening:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._finish(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
        self._replies.close()

    def _run(self, kind: Kind, requests: Sequence[Request], listener: Listener | None) -> list[Result]:
        identities = [request.identity(kind, self.endpoint) for request in requests]
        news: queue.SimpleQueue[tuple[int, Result] | None] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(self._answer(kind, requests, identities, news.put), self._started())
        future.add_done_callback(lambda _: news.put(None))
        results: list[Result | None] = [None] * len(requests)
        try:
            while (item := news.get()) is not None:
                results[item[0]] = item[1]
                if listener is not None:
                    listener(*item)
        except BaseException:
            future.cancel()
            raise
        future.result()
        return [result for result in results if result is not None]

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._opening:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="thinktwice-http", daemon=True)
                self._thread.start()
            return self._loop

    async def _finish(self) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._replies.settle()
        await self._wire.close()

    async def _answer(
        self,
        kind: Kind,
        requests: Sequence[Request],
        identities: Sequence[str],
        tell: Callable[[tuple[int, Result]], None],
    ) -> None:
        """Answer each different request once; tell every index that asked for it."""
        self._asked += len(requests)
        indices: dict[str, list[int]] = {}
        for index, identity in enumerate(identities):
            indices.setdefault(identity, []).append(index)
        keys = {key_of(identity): identity for identity in indices}
        stored = await self._replies.find(list(keys))

        def hand_out(identity: str, result: Result) -> None:
            for index in indices[identity]:
                self._count(result)
                tell((index, result))
                if isinstance(result, Reply):
                    result = replace(result, cached=True)

        async def work(identity: str) -> None:
            result = await self._shared(kind, requests[indices[identity][0]], identity)
            if isinstance(result, Failure):
                self._check_failures(result)
            hand_out(identity, result)

        for key, reply in stored.items():
            hand_out(keys[key], reply)
        tasks = [asyncio.create_task(work(identity)) for key, identity in keys.items() if key not in stored]
        self._calls.update(tasks)
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._calls.difference_update(tasks)

    async def _shared(self, kind: Kind, request: Request, identity: str) -> Result:
        """Join the same request in flight, or be the one that flies."""
        while (flight := self._flights.get(identity)) is not None:
            result = await asyncio.shield(flight)
            if result is not None:  # None: whoever asked was called off
                return replace(result, cached=True) if isinstance(result, Reply) else result
        flight = self._flights[identity] = asyncio.get_running_loop().create_future()
        result = None
        try:
            result = await self._claimed(kind, request, identity)
        finally:
            del self._flights[identity]
            flight.set_result(result)
        return result

    async def _claimed(self, kind: Kind, request: Request, identity: str) -> Result:
        """Ask as the only one on this machine, unless someone has asked meanwhile."""
        key = key_of(identity)
        while True:
            async with self._slots:
                if self._replies.claim(key):
                    try:
                        if found := await self._replies.find([key]):
                            return found[key]
                        result = await self._ask(kind, request)
                        await self._replies.record(identity, result)
                        return result
                    finally:
                        self._replies.release(key)
            await asyncio.sleep(POLL_S)

    async def _ask(self, kind: Kind, request: Request) -> Result:
        """Attempt until there is a reply, nothing can bring one, or the time is up."""
        endpoint, pace = self.endpoint, self._pace
        body = request.body(kind, endpoint)
        while (pause := self._quiet_until - pace.clock()) > 0:  # the server asked to be left alone
            await pace.sleep(pause + pace.uniform(0.0, FIRST_WAIT_S))
        started, attempt = pace.clock(), 0
        while True:
            attempt += 1
            self._spending = replace(self._spending, attempts=self._spending.attempts + 1)
            left = endpoint.deadline_s - (pace.clock() - started)
            outcome = await self._wire.attempt(kind, body, min(endpoint.timeout_s, left))
            self._reached |= isinstance(outcome, Reply) or outcome.answered
            if isinstance(outcome, Reply):
                return outcome
            if outcome.remedy == "stop":
                raise ConfigError(outcome.reason)
            if outcome.remedy == "never":
                return Failure("bad reply" if outcome.bad_reply else "refused", outcome.reason, attempt)
            if outcome.wait_s is not None:
                self._quiet_until = max(self._quiet_until, pace.clock() + outcome.wait_s)
            pause = max(wait(attempt, outcome.wait_s, pace.uniform), self._quiet_until - pace.clock())
            if pace.clock() + pause - started >= endpoint.deadline_s:
                if not self._reached:
                    raise EngineError(f"{outcome.reason}; start the server, or set base_url to where it is.")
                asked = "" if outcome.wait_s is None else f", and it asks for {outcome.wait_s:g} s more"
                reason = (
                    f"{outcome.reason}{asked}; given up after attempt {attempt}, deadline_s={endpoint.deadline_s:g}"
                )
                return Failure("deadline", reason, attempt)
            log.info("%s: attempt %d: %s; again in %.1f s", endpoint.model, attempt, outcome.reason, pause)
            await pace.sleep(pause)

    def _count(self, result: Result) -> None:
        spent = self._spending
        spent = replace(spent, requests=spent.requests + 1)
        if isinstance(result, Failure):
            spent = replace(spent, failures=spent.failures + 1)
        else:
            usage = result.usage or Usage()
            if result.cached:
                spent = replace(spent, cached=spent.cached + 1, cached_usage=spent.cached_usage + usage)
            else:
                spent = replace(spent, replies=spent.replies + 1, usage=spent.usage + usage)
            spent = replace(spent, unmetered=spent.unmetered + (result.usage is None))
        self._spending = spent

    def _check_failures(self, failure: Failure) -> None:
        self._reasons[failure.reason] += 1
        failed = self._reasons.total()
        if failed > max(FREE_FAILURES, self.endpoint.max_failures * self._asked):
            ((reason, times),) = self._reasons.most_common(1)
            raise EngineError(
                f"{failed} of {self._asked} requests to {self.endpoint.model} at {self._wire.address} failed, more "
                f"than max_failures={self.endpoint.max_failures:g} allows; most often ({times} times): {reason}. "
                "Replies that came are kept and will not be paid for again."
            )
