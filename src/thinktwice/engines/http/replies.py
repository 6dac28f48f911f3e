"""The reply cache as an event loop sees it: looked up and written in a thread of its own, rows together."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from thinktwice.config import parse, to_dict
from thinktwice.engines.http import cache
from thinktwice.engines.http.endpoint import Failure, Reply, Result
from thinktwice.run import files


class Replies:
    """What was answered before. Law: `record` returns when the row is on the disk; without a file nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, or make it.

        Raises:
            DataError: it is damaged, or something else.
        """
        self._path = path
        self._cache = cache.ReplyCache(path) if path is not None else None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="thinktwice-replies")
        self._rows: list[tuple[cache.Row, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def claim(self, key: str) -> bool:
        """Take the sole right to ask for a key."""
        return self._path is None or cache.claim(self._path, key)

    def release(self, key: str) -> None:
        """Give it back."""
        if self._path is not None:
            cache.release(self._path, key)

    async def find(self, keys: Sequence[str]) -> dict[str, Reply]:
        """Return the replies there are, by key, marked as cached."""
        if self._cache is None:
            return {}
        stored = await asyncio.get_running_loop().run_in_executor(self._disk, self._cache.find, keys)
        return {key: replace(parse(Reply, json.loads(text)), cached=True) for key, text in stored.items()}

    async def record(self, identity: str, result: Result) -> None:
        """Write a result down; results that arrive while others are being written go together."""
        if self._cache is None:
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        row = cache.Row(identity, files.canonical(to_dict(result)), isinstance(result, Failure))
        self._rows.append((row, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(self._cache))
        await written

    async def settle(self) -> None:
        """Wait until everything that was recorded is on the disk."""
        if self._writing is not None:
            await self._writing

    def close(self) -> None:
        """Let go of the file."""
        self._disk.shutdown()
        if self._cache is not None:
            self._cache.close()

    async def _write(self, replies: cache.ReplyCache) -> None:
        while self._rows:
            batch, self._rows = self._rows, []
            problem: Exception | None = None
            try:
                rows = [row for row, _ in batch]
                await asyncio.get_running_loop().run_in_executor(self._disk, replies.append, rows)
            except Exception as error:  # goes to everyone who waits for this write
                problem = error
            for _, written in batch:
                if written.done():
                    continue  # its call was called off; the row is there all the same
                if problem is None:
                    written.set_result(None)
                else:
                    written.set_exception(problem)
        self._writing = None
