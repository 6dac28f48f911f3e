"""Decoding under controls on a server: stop on a control's token, edit the id list, resubmit.

Needs a server whose completions take token ids and return the ids drawn with their log-probabilities: vLLM >= 0.10.2
(`prompt` as ids, `stop_token_ids`, `ignore_eos`, `logit_bias`, `return_token_ids`, `logprobs: 0`; the names and forms
are those of its `entrypoints/openai/completion/protocol.py`). Tested here against a loopback server of that wire
format, token for token against `decode.reference`, not against vLLM itself. The server's prefix cache pays for what is
sent again. Log-probabilities are the server's; vLLM's are the model's own unless it runs with
`--logprobs-mode processed_logprobs`.
"""

import hashlib
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from thinktwice.decode.reference import replay
from thinktwice.decode.stops import ToText
from thinktwice.decode.undo import NoUndo, UndoBias, UndoBudget, UndoFloor
from thinktwice.engines.base import LogitsRule
from thinktwice.engines.http.client import Client
from thinktwice.engines.http.endpoint import Failure, Request
from thinktwice.errors import ConfigError
from thinktwice.resolve import resolve
from thinktwice.types import Completion, Control, RowView, Sampling

NEVER = -100.0
"""The lowest `logit_bias` there is; a server that draws such a token all the same ends the row with an error."""
Biases = Callable[[RowView, bool], dict[int, float]]
"""`(row, inside) -> {token id: bias}`; inside: as if the last token were no undo token and something were left."""


class HttpEngine:
    """Token ids in, token ids out, from a server. Law: fates, bans, budgets and stops are those of the local engine.

    Every row is `decode.reference.replay`, fed from the server. Where the next token's distribution differs from the
    one after it (a ban, the floor, the end of an undo run), that one token is asked for alone.

        >>> engine = HttpEngine(Client(endpoint, Path("replies.sqlite")), eos_ids=[2], to_text=to_text_of(tokenizer))
    """

    def __init__(
        self,
        client: Client,
        *,
        eos_ids: Collection[int],
        to_text: ToText | None = None,
        max_length: int | None = None,
    ) -> None:
        """Take a client.

        Args:
            client: Of a server that serves this tokenizer's model.
            eos_ids: Ids that end a reply.
            to_text: Decodes ids; needed for stop strings only.
            max_length: Longest text, prompt included (the server's `--max-model-len`).
        """
        self.client, self._eos_ids, self._to_text = client, frozenset(eos_ids), to_text
        self._max_length = max_length

    @property
    def name(self) -> str:
        """The model, and that a server runs it."""
        return f"{self.client.endpoint.model} (HTTP)"

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        controls: Sequence[Control] = (),
        rules: Sequence[LogitsRule] = (),
        keys: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Complete every prompt; a row whose request fails ends with "error".

        Raises:
            ConfigError: rules a server cannot follow, stop strings without `to_text`, keys that do not match.
            EngineError: too many requests failed (`Client.complete`).
        """
        if keys is not None and len(keys) != len(prompts):
            raise ConfigError(f"{len(keys)} keys for {len(prompts)} prompts; give one key a prompt, or none.")
        if sampling.stop and self._to_text is None:
            raise ConfigError("stop strings need a decoder; give the engine to_text=to_text_of(tokenizer).")
        biases = _biases(rules)
        watched = frozenset[int]().union(*(control.watch for control in controls), _undo_ids(rules))

        called_off = threading.Event()

        def complete(prompt: Sequence[int], key: int) -> Completion:
            if not prompt:
                return Completion((), (), (), "error", "The prompt is empty; a server needs at least one token.")
            row = _Row(self.client, sampling, key, biases, watched, self._eos_ids, self._max_length)
            return replay(
                lambda view, banned: "Called off." if called_off.is_set() else row.propose(view, banned),
                prompt,
                sampling,
                controls=controls,
                eos_ids=self._eos_ids,
                max_length=self._max_length,
                to_text=self._to_text,
            )

        pool = ThreadPoolExecutor(max(1, min(len(prompts), self.client.endpoint.concurrency)))
        try:
            return list(pool.map(complete, prompts, range(len(prompts)) if keys is None else keys))
        finally:
            called_off.set()
            pool.shutdown(cancel_futures=True)


class _Row:
    """One row's tokens: those the server drew for the context as it stands, and a new request where it changed."""

    def __init__(
        self,
        client: Client,
        sampling: Sampling,
        key: int,
        biases: Biases,
        watched: frozenset[int],
        eos_ids: frozenset[int],
        max_length: int | None,
    ) -> None:
        self._client, self._sampling, self._key, self._biases = client, sampling, key, biases
        self._watched, self._eos_ids, self._max_length = watched, eos_ids, max_length
        self._drawn: list[tuple[int, float]] = []  # still to be proposed, the next one last
        self._context: tuple[int, ...] = ()  # what the next one was drawn for
        self._requests = 0

    def propose(self, row: RowView, banned: frozenset[int]) -> tuple[int, float] | str | None:
        """Return the next token and its log-probability, or a sentence where there is none."""
        context = tuple(row.token_ids)
        if not self._drawn or context != self._context:
            problem = self._request(row, context, banned)
            if problem is not None:
                return problem
        token_id, logprob = self._drawn.pop()
        if token_id in banned:
            return f"The server drew {token_id}, which was banned there; its logit_bias does not reach far enough."
        self._context = (*context, token_id)
        return token_id, logprob

    def _request(self, row: RowView, context: tuple[int, ...], banned: frozenset[int]) -> str | None:
        biases, later = self._biases(row, False), self._biases(row, True)
        biases |= dict.fromkeys(banned, NEVER)
        # A token after a watched one may change the context again: more than that one would be drawn in vain.
        alone = biases != later or context[-1] in self._watched
        room = self._sampling.max_new_tokens - row.sampled
        if self._max_length is not None:
            room = min(room, self._max_length - len(context))
        extra = {
            "return_token_ids": True,
            "logprobs": 0,
            "ignore_eos": True,  # the end tokens are ours to name
            "stop_token_ids": sorted(self._watched | self._eos_ids),
            "skip_special_tokens": False,
            "logit_bias": {str(token_id): bias for token_id, bias in sorted(biases.items())} or None,
        }
        # A stream of its own for every request of every row: the same seed again would draw the same mistake again.
        stream = hashlib.sha256(f"{self._key}:{self._requests}".encode()).digest()[:7]
        sampling = replace(self._sampling, max_new_tokens=1 if alone else room)
        self._requests += 1
        reply = self._client.complete([Request(context, sampling, int.from_bytes(stream, "big"), extra)])[0]
        if isinstance(reply, Failure):
            return f"The server gave no tokens: {reply.reason}."
        if not reply.token_ids or len(reply.logprobs) != len(reply.token_ids):
            return (
                f"The server sent {len(reply.token_ids)} token ids and {len(reply.logprobs)} log-probabilities; "
                "decoding needs both for every token (vLLM 0.10.2 or later)."
            )
        self._drawn = list(zip(reply.token_ids, reply.logprobs, strict=True))[::-1]
        self._context = context
        return None


def _undo_ids(rules: Sequence[LogitsRule]) -> frozenset[int]:
    """Ids after which a rule's answer changes."""
    return frozenset(rule.undo_id for rule in rules if isinstance(rule, UndoBias | UndoFloor))


def _biases(rules: Sequence[LogitsRule]) -> Biases:
    """Return what the rules add to which logits; only the undo token's rules can be told to a server."""
    for rule in rules:
        if not isinstance(rule, NoUndo | UndoBias | UndoFloor | UndoBudget):
            raise ConfigError(
                f"{getattr(rule, '__name__', type(rule).__name__)} changes next-token scores in a way that cannot be "
                "sent to a server; use a local engine for it."
            )
        if isinstance(rule, UndoBias) and abs(rule.bias) >= -NEVER:
            raise ConfigError(f"an undo bias of {rule.bias:g} cannot be sent to a server: logit_bias ends at 100.")

    def biases(row: RowView, inside: bool) -> dict[int, float]:
        """Each rule's effect on its undo token, as `decode.undo` has it; a ban wins over any bias."""
        sums: dict[int, float] = {}
        bans: dict[int, float] = {}
        for rule in rules:
            if isinstance(rule, UndoBias):
                if inside or row.token_ids[-1] != rule.undo_id:
                    sums[rule.undo_id] = sums.get(rule.undo_id, 0.0) + rule.bias
            elif (
                isinstance(rule, NoUndo)
                or (isinstance(rule, UndoBudget) and row.edits >= rule.max_edits)
                or (isinstance(rule, UndoFloor) and not inside and _nothing_left(rule, row))
            ):
                bans[rule.undo_id] = NEVER
        return {token_id: bias for token_id, bias in {**sums, **bans}.items() if bias}

    return biases


def _nothing_left(rule: UndoFloor, row: RowView) -> bool:
    written = row.token_ids[row.prompt_length :]
    return not resolve(written, rule.undo_id, unit=rule.unit, step_ends=rule.step_ends).kept
