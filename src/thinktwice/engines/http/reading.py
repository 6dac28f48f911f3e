"""What a server sent -> a reply. Law: a stranger wrote it; only what has the documented form and a seen end is one."""

import math
from collections.abc import Mapping
from typing import Any

from thinktwice.engines.http.endpoint import Kind, Reply, ToolCall, Usage
from thinktwice.engines.http.retry import Refusal

BROKEN_OFF = frozenset({"abort", "error", "insufficient_system_resource"})
"""What servers (vLLM, DeepSeek) say of a reply that is only a part."""


class _MalformedError(Exception):
    """What was wrong with it, in a few words."""


def read(kind: Kind, data: Any) -> Reply | Refusal:
    """Read the body of a reply; other forms are a bad reply, with what was missing."""
    try:
        reply = _reply(kind, data)
    except _MalformedError as error:
        return Refusal("never", f"the server's reply is not one: {error}", bad_reply=True)
    if reply.finish_reason in BROKEN_OFF:
        return Refusal("again", f"the server broke the reply off (finish_reason {reply.finish_reason})")
    return reply


def _reply(kind: Kind, data: Any) -> Reply:
    choices = _field(data, "choices", list)
    if len(choices) != 1:
        raise _MalformedError(f"{len(choices)} choices instead of one")
    choice = choices[0]
    finish = _field(choice, "finish_reason", str)
    usage = data.get("usage")
    common = {
        "finish_reason": finish,
        "usage": None if usage is None else _usage(usage),
        "model": _clean(str(data.get("model") or "")),
        "token_ids": _numbers(choice.get("token_ids"), "token_ids", int),
    }
    logprobs = choice.get("logprobs")
    listed = None
    if kind == "completions":
        if logprobs is not None:
            listed = _field(logprobs, "token_logprobs", list)
        return Reply(_clean(_field(choice, "text", str)), logprobs=_numbers(listed, "token_logprobs", float), **common)
    message = _field(choice, "message", dict)
    calls = tuple(map(_call, _field(message, "tool_calls", list) if message.get("tool_calls") else ()))
    if message.get("content") is None and "content" not in message and not calls:
        raise _MalformedError("a message without content")
    if logprobs is not None:
        listed = [_field(entry, "logprob", float) for entry in _field(logprobs, "content", list)]
    return Reply(
        "" if message.get("content") is None else _clean(_field(message, "content", str)),
        reasoning=_clean(str(message.get("reasoning_content") or message.get("reasoning") or "")),
        tool_calls=calls,
        logprobs=_numbers(listed, "logprobs", float),
        **common,
    )


def _field(data: Any, name: str, kind: type) -> Any:
    if not isinstance(data, Mapping):
        raise _MalformedError(f"{type(data).__name__} where {name} should be")
    value = data.get(name)
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, kind):
        raise _MalformedError(f"no {name}" if value is None else f"{name} is {type(value).__name__}")
    return value


def _numbers(value: Any, name: str, kind: type) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or any(type(item) not in (int, kind) or not math.isfinite(item) for item in value):
        raise _MalformedError(f"{name} has something that is no number")
    return tuple(kind(item) for item in value)


def _usage(usage: Any) -> Usage:
    prompt = _field(usage, "prompt_tokens", int)
    return Usage(prompt, _field(usage, "completion_tokens", int) if "completion_tokens" in usage else 0)


def _call(call: Any) -> ToolCall:
    function = _field(call, "function", dict)
    parts = str(call.get("id") or ""), _field(function, "name", str), _field(function, "arguments", str)
    return ToolCall(*map(_clean, parts))


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can spell and no file can hold."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


class Pieces:
    """A reply that arrives in pieces, put together into the form it would have had in one."""

    def __init__(self, kind: Kind) -> None:
        """Begin with nothing."""
        self._kind = kind
        self._texts: dict[str, list[str]] = {"content": [], "reasoning_content": []}
        self._calls: dict[int, dict[str, Any]] = {}
        self._token_ids: list[Any] | None = None
        self._logprobs: list[Any] | None = None
        self._finish: str | None = None
        self._head: dict[str, Any] = {}
        self.begun = False

    @property
    def ended(self) -> bool:
        """Whether the server said that the reply is whole, and why it ended."""
        return self._finish is not None

    @property
    def characters(self) -> int:
        """How much has arrived."""
        return sum(len(text) for texts in self._texts.values() for text in texts)

    def add(self, chunk: Any) -> None:
        """Take the next piece.

        Raises:
            ValueError: it is no piece of a reply.
        """
        try:
            self._add(chunk)
        except (AttributeError, TypeError) as error:
            raise ValueError("no piece of a reply") from error

    def _add(self, chunk: Mapping[str, Any]) -> None:
        self.begun = True
        self._head |= {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
        for choice in chunk.get("choices") or ():
            delta = choice if self._kind == "completions" else choice.get("delta") or {}
            texts = {
                "content": delta.get("text" if self._kind == "completions" else "content"),
                "reasoning_content": delta.get("reasoning_content") or delta.get("reasoning"),
            }
            for name, text in texts.items():
                if isinstance(text, str):
                    self._texts[name].append(text)
            for call in delta.get("tool_calls") or ():
                self._add_call(call)
            if choice.get("token_ids") is not None:
                self._token_ids = (self._token_ids or []) + list(choice["token_ids"])
            logprobs = choice.get("logprobs")
            if logprobs is not None:
                more = logprobs.get("token_logprobs" if self._kind == "completions" else "content") or ()
                self._logprobs = (self._logprobs or []) + list(more)
            self._finish = choice.get("finish_reason") or self._finish

    def whole(self) -> dict[str, Any]:
        """Return the body that a server which does not stream would have sent."""
        choice: dict[str, Any] = {"finish_reason": self._finish, "token_ids": self._token_ids}
        content = "".join(self._texts["content"])
        if self._kind == "completions":
            choice["text"] = content
            choice["logprobs"] = None if self._logprobs is None else {"token_logprobs": self._logprobs}
        else:
            choice["logprobs"] = None if self._logprobs is None else {"content": self._logprobs}
            choice["message"] = {
                "content": content,
                "reasoning_content": "".join(self._texts["reasoning_content"]),
                "tool_calls": [self._calls[index] for index in sorted(self._calls)],
            }
        return {"choices": [choice], **self._head}

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(
            int(piece.get("index") or 0), {"id": "", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = piece.get("id") or call["id"]
        function = piece.get("function") or {}
        for name in ("name", "arguments"):
            call["function"][name] += function.get(name) or ""
