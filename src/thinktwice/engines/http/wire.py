"""One attempt on the wire, through the `openai` client. The only module that imports it.

Law: what comes back is a whole reply or a `Refusal`, never an exception of the library, whose errors hold the request
and its key. The library's own retries are off: two layers of them multiply.
"""

import asyncio
import json
from typing import Any

from thinktwice.engines.http.endpoint import Endpoint, Kind, Reply
from thinktwice.engines.http.reading import Pieces, read
from thinktwice.engines.http.retry import Pace, Refusal
from thinktwice.engines.http.secret import Secret
from thinktwice.errors import ConfigError, nearest
from thinktwice.retry import again, retry_after

LISTING_S = 10.0


class Wire:
    """A connection to one endpoint; used on one event loop."""

    def __init__(self, endpoint: Endpoint, pace: Pace) -> None:
        """Read the key and open nothing yet.

        Raises:
            ConfigError: the `openai` package is missing, the address or the key cannot be used.
        """
        try:
            import openai
        except ImportError:
            raise ConfigError("engines over HTTP need the openai package: pip install 'thinktwice[http]'") from None
        self._openai = openai
        self._endpoint, self._pace = endpoint, pace
        self._secret = Secret.read(endpoint.api_key_env)
        self.address = endpoint.address
        self._client: Any = None

    async def attempt(self, kind: Kind, body: dict[str, Any], limit_s: float) -> Reply | Refusal:
        """Send a request once; give up after `limit_s` seconds, wherever it stands."""
        outcome: Reply | Refusal | BaseException
        try:
            async with asyncio.timeout(limit_s):
                outcome = await (self._streamed(kind, body) if self._endpoint.stream else self._plain(kind, body))
        except (self._openai.OpenAIError, TimeoutError) as error:
            outcome = error
        # Outside the handler, so that nothing raised from here on holds the library's error as its context.
        if isinstance(outcome, BaseException):
            outcome = await self._understood(outcome, limit_s)
        if isinstance(outcome, Reply) and self._secret.within(repr(outcome)):
            return Refusal("never", f"the reply contains the key in {self._secret.variable}; it is not kept", True)
        return outcome

    async def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            await self._client.close()

    def _resource(self, kind: Kind) -> Any:
        if self._client is None:
            self._client = self._openai.AsyncOpenAI(
                base_url=self.address,
                api_key=self._secret.value,
                max_retries=0,
                timeout=self._endpoint.timeout_s,
            )
        return self._client.chat.completions if kind == "chat" else self._client.completions

    async def _plain(self, kind: Kind, body: dict[str, Any]) -> Reply | Refusal:
        named, rest = _split(body)
        # The raw text: the library would build a reply out of whatever fields there are.
        answer = await self._resource(kind).with_raw_response.create(**named, extra_body=rest)
        try:
            data = json.loads(answer.http_response.content)
        except (ValueError, RecursionError):
            return Refusal("never", "the server's reply is no JSON", bad_reply=True)
        return read(kind, data)

    async def _streamed(self, kind: Kind, body: dict[str, Any]) -> Reply | Refusal:
        named, rest = _split(body | {"stream_options": {"include_usage": True}})
        pieces = Pieces(kind)
        try:
            async with await self._resource(kind).create(**named, extra_body=rest, stream=True) as stream:
                async for chunk in stream:
                    pieces.add(chunk.model_dump(warnings=False) if hasattr(chunk, "model_dump") else chunk)
        except ValueError:  # half a line of JSON
            pass
        except self._openai.APIConnectionError:
            if not pieces.begun:
                raise
        if not pieces.ended:
            return Refusal("again", f"the stream was cut after {pieces.characters} characters")
        return read(kind, pieces.whole())

    async def _understood(self, error: BaseException, limit_s: float) -> Refusal:
        """Say what an error means, in words without secrets."""
        if isinstance(error, TimeoutError | self._openai.APITimeoutError):
            return Refusal("again", f"no whole reply within {limit_s:g} s")
        if isinstance(error, self._openai.APIStatusError):
            return await self._status(error)
        if isinstance(error, self._openai.APIConnectionError):
            cause = error.__cause__
            refused = "Connect" in type(cause).__name__
            why = self._shown(str(cause or "") or type(cause).__name__)
            return Refusal("again", f"no connection to {self.address} ({why})", answered=not refused)
        message = self._shown(getattr(error, "message", "") or type(error).__name__)
        code = getattr(error, "code", None)
        passing = code is None or not str(code).isdigit() or again(int(code))
        return Refusal("again" if passing else "never", f"the stream broke off: {message}")

    async def _status(self, error: Any) -> Refusal:
        status, model, variable = int(error.status_code), self._endpoint.model, self._secret.variable
        if status == 401:
            found = f"the key in {variable} is not accepted" if self._secret.known else f"{variable} is not set"
            return Refusal(
                "stop",
                f"{self.address} asks for a key, and {found}. Export it as {variable}, or name another variable with "
                "api_key_env.",
            )
        told = error.body.get("message") if isinstance(error.body, dict) else error.body
        message = self._shown(str(told or error.message))
        if status == 403:
            return Refusal("stop", f"{self.address}: the key in {variable} may not use {model!r} (HTTP 403: {message})")
        if status == 404:
            return Refusal("stop", await self._missing(message))
        if status == 429 and error.code == "insufficient_quota":
            return Refusal("stop", f"{self.address}: the account behind {variable} has no credit left ({message})")
        return Refusal(
            "again" if again(status) else "never",
            f"HTTP {status}: {message}",
            wait_s=retry_after(error.response.headers, self._pace.now()),
        )

    async def _missing(self, message: str) -> str:
        """Say why there was nothing: a model by another name, or an address by another path."""
        model, names = self._endpoint.model, []
        try:
            async with asyncio.timeout(LISTING_S):
                answer = await self._client.models.with_raw_response.list()
            listed = json.loads(answer.http_response.content)["data"]
            names = [self._shown(str(entry["id"])) for entry in listed]
        except (self._openai.OpenAIError, TimeoutError, ValueError, TypeError, KeyError):
            pass
        if not names:
            return f"nothing answers at {self.address} (HTTP 404); most servers want base_url to end in /v1."
        if model in names:
            return f"{self.address} has {model!r} but not what was asked of it (HTTP 404: {message})"
        return f"{self.address} has no model {model!r}.{nearest(model, names)}"

    def _shown(self, text: str) -> str:
        """Return a stranger's words, short, in one line, without control characters and without the key."""
        line = "".join(c if c.isprintable() else " " for c in self._secret.hide(text))
        line = " ".join(line.split())
        return line if len(line) <= 300 else f"{line[:300]}…"


def _split(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part what the library's method insists on from the rest, which it passes through."""
    named = {name: value for name, value in body.items() if name in ("model", "messages", "prompt")}
    return named, {name: value for name, value in body.items() if name not in named}
