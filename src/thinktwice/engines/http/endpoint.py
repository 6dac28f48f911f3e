"""Where a model is served, what is asked of it, and what comes back. Law: a key is never in here, only its name."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from thinktwice.config import to_dict
from thinktwice.errors import ConfigError
from thinktwice.run import files
from thinktwice.types import Sampling

Message = Mapping[str, Any]
"""One turn of a conversation as every server takes it: `{"role": "user", "content": "..."}`."""
Kind = Literal["chat", "completions"]

OPENAI = "https://api.openai.com/v1"
_SET_ELSEWHERE = {
    "model": "`model`",
    "messages": "the request's prompt",
    "prompt": "the request's prompt",
    "n": "`sample`: one request a sample",
    "best_of": "`sample`: one request a sample",
    "stream": "the endpoint's `stream`",
    "stream_options": "the endpoint's `stream`",
    "api_key": "the environment variable `api_key_env` names",
    "authorization": "the environment variable `api_key_env` names",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server (vLLM, llama.cpp, OpenAI) and how hard it may be asked; fits a recipe as it is.

    YAML: `teacher: {model: Qwen/Qwen3-8B, base_url: "http://localhost:8000/v1", concurrency: 64}`.
    """

    model: str
    """The model as the server names it."""
    base_url: str | None = None
    """Address of the API, most often ending in /v1; null: what OPENAI_BASE_URL says, else OpenAI's own."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key. The key goes to `base_url`, whoever runs it: give a server
    that is not OpenAI's a variable of its own. Unset is fine for a server that asks for no key."""
    revision: str = ""
    """Tells apart weights that are served under one name (a checkpoint's digest); part of the cache's key."""
    timeout_s: float = 120.0
    """Longest that one attempt may take, from connecting to the last token."""
    deadline_s: float = 900.0
    """Longest that one request may take, from its first attempt on, waits and retries included."""
    concurrency: int = 16
    """Requests the server is asked to answer at once, over all threads that share the client."""
    stream: bool = False
    """Ask for replies token by token: keeps proxies from hanging up on long replies. The result is the same."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the chat budget; OpenAI's reasoning models want the second."""
    max_failures: float = 0.05
    """Share of all requests that may fail for good before the call raises (the first 10 are always data)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """More fields of the request's body, sent as they are (response_format, chat_template_kwargs, min_p, ...). A null
    takes a field away: `{temperature: null}` for a model that refuses it."""

    def __post_init__(self) -> None:
        """Refuse what cannot work. No message repeats a value that may be a key."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ConfigError(
                "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY, and what stands "
                "there is no name. If it is the key itself: take it out of the file and export it as a variable."
            )
        if self.base_url is not None:
            check_address(self.base_url, "base_url")
        if not self.model:
            raise ConfigError("model is empty; write the name the server gives its model (GET /v1/models lists them).")
        for name in ("timeout_s", "deadline_s", "concurrency"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be more than 0; got {getattr(self, name)}.")
        if not 0 <= self.max_failures <= 1:
            raise ConfigError(f"max_failures is a share from 0 to 1; got {self.max_failures}.")
        check_extra(self.extra)

    @property
    def address(self) -> str:
        """Where requests go, without a slash at the end."""
        if self.base_url is None and (named := os.environ.get("OPENAI_BASE_URL")):
            check_address(named, "OPENAI_BASE_URL")
            return named.rstrip("/")
        return (self.base_url or OPENAI).rstrip("/")


def check_address(url: str, name: str) -> None:
    """Refuse an address that is none, or that carries what may be a key; the message does not repeat it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{name} must be a web address such as http://localhost:8000/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"{name} carries a user, a password or a query; put the key in the environment variable that api_key_env "
            "names, and nothing but the address here."
        )


def check_extra(extra: Mapping[str, Any]) -> None:
    """Refuse extra body fields that something else decides."""
    for name, value in extra.items():
        if name.lower() in _SET_ELSEWHERE:
            raise ConfigError(f"extra: {name} is set by {_SET_ELSEWHERE[name.lower()]}; take it out of extra.")
        if value is not None and name in ("temperature", "top_p", "top_k", "seed", "stop", "max_tokens"):
            raise ConfigError(f"extra: {name} is set by the sampling; only null, which takes it away, can stand here.")


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask. The same request is paid for once: ask for another sample with another `sample`.

    >>> requests = [Request("Name a prime.", Sampling(temperature=1.0), sample=k) for k in range(5)]
    """

    prompt: str | tuple[int, ...] | tuple[Message, ...]
    """Messages, or a text (for `chat`: one user message), or token ids (for `complete`, on servers that take them)."""
    sampling: Sampling = field(default_factory=Sampling)
    sample: int = 0
    """Which of several samples of the same question this is."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Body fields of this request alone, over those of the endpoint."""

    def __post_init__(self) -> None:
        """Refuse what no server takes."""
        if not self.prompt:
            raise ConfigError("a request's prompt is empty; give a text, messages, or token ids.")
        check_extra(self.extra)

    def body(self, kind: Kind, endpoint: Endpoint) -> dict[str, Any]:
        """Return what is sent, less what concerns only the way it is sent (streaming)."""
        sampling = self.sampling
        body: dict[str, Any] = {"model": endpoint.model}
        if kind == "chat":
            body["messages"] = _messages(self.prompt)
        elif isinstance(self.prompt, str) or all(type(item) is int for item in self.prompt):
            body["prompt"] = self.prompt if isinstance(self.prompt, str) else list(self.prompt)
        else:
            raise ConfigError("complete() takes a text or token ids; for messages use chat().")
        body[endpoint.token_limit if kind == "chat" else "max_tokens"] = sampling.max_new_tokens
        body |= {"temperature": float(sampling.temperature), "top_p": float(sampling.top_p), "seed": self.seed}
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        body |= {**endpoint.extra, **self.extra}
        return {name: value for name, value in body.items() if value is not None}

    @property
    def seed(self) -> int:
        """The seed the server gets: 31 bits made of the sampling's seed and the sample's index."""
        return int.from_bytes(hashlib.sha256(f"{self.sampling.seed}:{self.sample}".encode()).digest()[:4], "big") >> 1

    def identity(self, kind: Kind, endpoint: Endpoint) -> str:
        """Return canonical JSON of all that decides the reply; where the model is served is no part of it."""
        return files.canonical(
            {
                "kind": kind,
                "body": to_dict(self.body(kind, endpoint)),
                "seed": self.sampling.seed,
                "sample": self.sample,
                "revision": endpoint.revision,
            }
        )


def _messages(prompt: str | tuple[Any, ...]) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    for message in prompt:
        if not isinstance(message, Mapping) or "role" not in message:
            raise ConfigError(
                'chat() takes a text or messages such as {"role": "user", "content": "..."}; '
                "for token ids use complete()."
            )
    return [dict(message) for message in prompt]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Sum both kinds."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. Its arguments are text a model wrote: parse them with care."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. Law: the server said why it ended; a reply whose end was not seen is a `Failure`."""

    text: str
    finish_reason: str
    """stop; length: the token budget cut it; tool_calls; content_filter: the server cut it."""
    usage: Usage | None = None
    """None where the server does not say."""
    model: str = ""
    """The model that answered, as the server names it."""
    reasoning: str = ""
    """What a reasoning model thought, where the server sends it apart."""
    tool_calls: tuple[ToolCall, ...] = ()
    token_ids: tuple[int, ...] = ()
    """The ids drawn, the one that stopped it included (vLLM's `return_token_ids`)."""
    logprobs: tuple[float, ...] = ()
    """One for each token, where they were asked for; under which distribution is the server's matter."""
    cached: bool = False
    """It was paid for earlier."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no whole reply, as data. It is recorded, and asked again by the next run."""

    kind: Literal["deadline", "refused", "bad reply"]
    """deadline: still failing when its time was up; refused: the server will not answer this one; bad reply: it
    answered something that is no reply."""
    reason: str
    """One sentence."""
    attempts: int = 1


Result = Reply | Failure


@dataclass(frozen=True, slots=True)
class Spending:
    """What a client has asked and paid for so far."""

    requests: int = 0
    """Requests that were answered, from wherever."""
    attempts: int = 0
    """Requests that went over the wire, retries included."""
    replies: int = 0
    """Whole replies the server gave."""
    cached: int = 0
    """Replies that were there already, or were shared with the same request in flight."""
    failures: int = 0
    usage: Usage = Usage()
    """Tokens of the replies the server gave: paid for."""
    cached_usage: Usage = Usage()
    """Tokens of the replies that were there already: not paid for again."""
    unmetered: int = 0
    """Replies without a token count; they are in neither sum."""
