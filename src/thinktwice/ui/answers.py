"""One answer, as messages for the page while it is written. Law: what is shown is what was decoded, token for token."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thinktwice.answer import threshold_of
from thinktwice.errors import ConfigError, ThinkTwiceError
from thinktwice.resolve import Resolver
from thinktwice.types import Sampling, Trace
from thinktwice.ui.problems import Known, Problems
from thinktwice.ui.shelf import Choice, Loaded, Shelf, run_directories

log = logging.getLogger(__name__)

LONGEST = 20_000
"""Characters a question may have."""
WINDOW = 8
"""Tokens before a new one that its text is cut with: no character has more bytes."""

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Ask:
    """One question to one model, as the page sends it."""

    model: str
    question: str
    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 0
    bias: float | None = None
    """The undo threshold; None is the one that dev chose."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        if not self.question.strip():
            raise ConfigError("there is no question; write one, or choose one of the run's test problems.")
        if len(self.question) > LONGEST:
            raise ConfigError(f"the question has {len(self.question):,} characters; at most {LONGEST:,} are read.")
        for name, low, high in (("temperature", 0, 10), ("max_new_tokens", 1, 100_000), ("seed", 0, 2**31 - 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name}={value} is outside {low} to {high:,}.")
        if self.bias is not None and not -100 <= self.bias <= 100:
            raise ConfigError(f"bias={self.bias} is outside -100 to 100.")


class AbandonedError(Exception):
    """Nobody reads on: ends the decoding at the next token."""


class Answers:
    """Answers questions with the models of a shelf."""

    def __init__(self, shelf: Shelf, problems: Problems) -> None:
        """Load nothing yet."""
        self._shelf, self._problems = shelf, problems

    def answer(self, ask: Ask, tell: Tell, stopped: Callable[[], bool]) -> None:
        """Answer one question, telling everything that happens; the last message is "judged", "stopped" or "failed".

        Runs in a thread of its own. `stopped` is asked at every token; once it holds, decoding ends and the model is
        free. Messages: loading, waiting, started, written, inserted, rejected, deleted, banned, stopped, judging,
        judged, failed; each a dictionary with "kind".
        """
        try:
            choice = self._shelf.find(ask.model)
            tell({"kind": "loading"})
            loaded = self._shelf.open(choice)
            while not loaded.lock.acquire(timeout=0.05):
                tell({"kind": "waiting"})
                if stopped():
                    return
            try:
                trace = self._decode(ask, loaded, tell, stopped)
            finally:
                loaded.lock.release()
            if trace.stop != "error":
                self._judge(choice, ask.question, trace, tell)
        except AbandonedError:
            return
        except ThinkTwiceError as error:
            tell({"kind": "failed", "message": str(error)})
        except Exception as error:  # a model may fail in any way; the page says so, the log says where
            log.exception("%s could not answer", ask.model)
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            tell({"kind": "failed", "message": f"the model failed: {words} The server's terminal has the details."})

    def _decode(self, ask: Ask, loaded: Loaded, tell: Tell, stopped: Callable[[], bool]) -> Trace:
        model = loaded.model
        own = threshold_of(model.method)
        tell({"kind": "started", "bias": own if ask.bias is None or own is None else ask.bias})
        listener = Listener(model.method, model.render, tell, stopped)
        sampling = Sampling(temperature=ask.temperature, max_new_tokens=ask.max_new_tokens, seed=ask.seed)
        began = time.monotonic()
        trace = model.answer(ask.question, sampling, on_event=listener.on, bias=None if own is None else ask.bias)
        seconds = time.monotonic() - began
        if trace.stop == "error":
            tell({"kind": "failed", "message": trace.error or "the model could not answer."})
            return trace
        undone = [step.kind == "undo" for step in trace.steps]
        tell(
            {
                "kind": "stopped",
                "stop": trace.stop,
                "reply": trace.reply,
                "tokens": trace.sampled_tokens,
                "taken_back": sum(len(step.token_ids) for step in trace.steps if step.kind == "error"),
                "retractions": sum(now and not (i and undone[i - 1]) for i, now in enumerate(undone)),
                "seconds": round(seconds, 3),
            }
        )
        return trace

    def _judge(self, choice: Choice, question: str, trace: Trace, tell: Tell) -> None:
        root = run_directories(self._shelf.runs).get(choice.run or "")
        known: Known | None = None if root is None else self._problems.find(root, question)
        if root is None or known is None:
            return
        tell({"kind": "judging"})
        tell({"kind": "judged", **asdict(self._problems.judge(root, known, trace.reply))})


class Listener:
    """Turns decoding events into messages: ids become text, and text that is kept in the context is still struck."""

    def __init__(self, method: Any, render: Any, tell: Tell, stopped: Callable[[], bool]) -> None:
        """Follow one answer."""
        self._render, self._tell, self._stopped = render, tell, stopped
        self._visible: list[int] = []
        self._undo = _undo_id(render)
        self._resolver: Resolver | None = None
        """Finds what an undo takes back where the decoder leaves it in the context (`context: keep`)."""
        if self._undo is not None and getattr(method, "context", None) == "keep":
            self._resolver = Resolver(self._undo, unit=getattr(method, "unit", "token"), step_ends=render.step_ends)

    def on(self, event: Any, _: object) -> None:
        """Take in one event of the decoder.

        Raises:
            AbandonedError: nobody reads on.
        """
        if self._stopped():
            raise AbandonedError
        if event.kind in ("written", "inserted"):
            for token_id in event.token_ids:
                self._write(event.kind, token_id, event.logprob)
        elif event.kind == "rejected":
            self._tell({"kind": "rejected", "text": self._spell(event.token_ids[0]), "logprob": event.logprob})
        elif event.kind == "deleted":
            self._delete(len(event.token_ids))
        elif event.kind == "banned":
            self._tell({"kind": "banned", "texts": [self._spell(token_id) for token_id in event.token_ids]})

    def _write(self, kind: str, token_id: int, logprob: float | None) -> None:
        message = {"kind": kind, "text": self._spell(token_id), "logprob": logprob}
        if token_id == self._undo:
            message["undo"] = True
        self._tell(message)
        self._visible.append(token_id)
        if self._resolver is not None:
            pushed = self._resolver.push(token_id)
            if pushed.fate != "kept":
                self._delete(1 + len(pushed.deleted))

    def _delete(self, n: int) -> None:
        del self._visible[len(self._visible) - n :]
        self._tell({"kind": "deleted", "n": n})

    def _spell(self, token_id: int) -> str:
        """Return what a token adds to the visible text; half a character is left to the token that completes it."""
        before: Sequence[int] = self._visible[-WINDOW:]
        start = self._render.text(before).rstrip("\ufffd")
        whole = self._render.text((*before, token_id)).rstrip("\ufffd")
        return str(whole[len(start) :] if whole.startswith(start) else self._render.text((token_id,)))


def _undo_id(render: Any) -> int | None:
    from thinktwice.methods.backtrack import UNDO

    found = render.tokenizer.get_vocab().get(UNDO.token)
    return None if found is None else int(found)
