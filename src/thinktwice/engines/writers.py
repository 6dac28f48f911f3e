"""Whoever answers texts with texts: a server, or a model in this process. Law: order and length are preserved."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from thinktwice.engines.base import Engine
from thinktwice.engines.http import Failure, Reply, Request, Result
from thinktwice.render import Render
from thinktwice.types import Sampling


class Writer(Protocol):
    """Answers requests. `engines.http.Client` is one; a request that fails is data."""

    def chat(self, requests: Sequence[Request]) -> list[Result]:
        """Answer each request; the prompts are texts."""
        ...


class Completer(Protocol):
    """Goes on with texts, as base models do. `engines.http.Client` is one."""

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """Continue each request's text."""
        ...


@dataclass(frozen=True)
class Author:
    """A writer in a role: what it is called and how it is asked."""

    writer: Writer
    model: str
    """Names it in the provenance of every row."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, max_new_tokens=2048))
    """Above temperature 0: an unusable reply is asked for again, and a greedy model repeats itself."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else decides its replies (a server's extra fields, a revision): rows under other settings are others."""

    def ask(self, text: str, sample: int) -> Request:
        """Return a request of this role; `sample` numbers the attempts, so that each is paid for once."""
        return Request(text, self.sampling, sample)


@dataclass(frozen=True)
class LocalWriter:
    """A model in this process. Law: a request is rendered as a question is, so text never becomes a control token."""

    engine: Engine
    render: Render

    def chat(self, requests: Sequence[Request]) -> list[Result]:
        """Answer each request; what is drawn depends on the request alone, not on its place in the batch."""
        return self._write(requests, [self.render.question(str(request.prompt)) for request in requests])

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """Continue each request's text."""
        return self._write(requests, [self.render.encode(str(request.prompt), special=True) for request in requests])

    def _write(self, requests: Sequence[Request], prompts: Sequence[Sequence[int]]) -> list[Result]:
        results: dict[int, Result] = {}
        for sampling in dict.fromkeys(request.sampling for request in requests):
            chosen = [index for index, request in enumerate(requests) if request.sampling == sampling]
            keys = [_key(requests[index]) for index in chosen]
            drawn = self.engine.generate([prompts[index] for index in chosen], sampling, keys=keys)
            for index, done in zip(chosen, drawn, strict=True):
                if done.stop == "error":
                    results[index] = Failure("refused", done.error or "the model could not answer")
                    continue
                ids = tuple(i for i in done.kept_ids if i not in self.render.special_ids)
                ended = "stop" if done.stop == "done" else "length"
                results[index] = Reply(self.render.text(ids), ended, model=self.engine.name, token_ids=ids)
        return [results[index] for index in range(len(requests))]


def _key(request: Request) -> int:
    return int.from_bytes(hashlib.sha256(f"{request.sample}\0{request.prompt}".encode()).digest()[:7], "big")
