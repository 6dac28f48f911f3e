"""Text ↔ token ids: the only place where they meet. Law: generation's prompt is a prefix of training's input.

Sampled ids are never decoded and encoded again (a text round trip corrupts 20–98 % of backtracking examples: merges
across an error's edge, half a UTF-8 character). So a solution is encoded line by line, once, and everything
after that works on ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from thinktwice.errors import ConfigError, ModelError
from thinktwice.resolve import resolve
from thinktwice.types import Completion, Example, Problem, Rewind, Step, StepKind, Trace


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    @property
    def eos_token_id(self) -> int | None: ...  # noqa: D102
    @property
    def chat_template(self) -> str | None: ...  # noqa: D102
    @property
    def unk_token_id(self) -> int | None: ...  # noqa: D102
    @property
    def all_special_ids(self) -> list[int]: ...  # noqa: D102
    @property
    def added_tokens_decoder(self) -> dict[int, Any]: ...  # noqa: D102
    def get_vocab(self) -> dict[str, int]: ...  # noqa: D102
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...  # noqa: D102
    def __call__(self, text: str | list[str], *, add_special_tokens: bool, split_special_tokens: bool) -> Any: ...  # noqa: D102
    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...  # noqa: D102
    def apply_chat_template(self, messages: Any, **options: Any) -> Any: ...  # noqa: D102
    def __len__(self) -> int: ...


PLAIN = "{question}\n"
"""The default template of a model without a chat template."""


@dataclass(frozen=True)
class Render:
    """Prompts and solutions of one model, as ids."""

    tokenizer: Tokenizer
    template: str | None = None
    """Text with one `{question}`, or "chat" for the tokenizer's chat template; None: chat where there is one."""

    def __post_init__(self) -> None:
        if self.template not in (None, "chat") and "{question}" not in str(self.template):
            raise ConfigError(f"model.template={self.template!r} has no {{question}}. Write for example {PLAIN!r}.")
        if self.template == "chat" and not self.tokenizer.chat_template:
            raise ModelError(
                "model.template=chat, but this tokenizer has no chat template. Give a text with {question}."
            )

    @cached_property
    def end_id(self) -> int:
        """The id that ends a reply."""
        if self.tokenizer.eos_token_id is None:
            raise ModelError("this tokenizer has no end token, so a reply could never stop. Set tokenizer.eos_token.")
        return self.tokenizer.eos_token_id

    @cached_property
    def step_ends(self) -> frozenset[int]:
        """The ids whose text ends with a line break: a step ends with one of them."""
        return frozenset(i for i in range(len(self.tokenizer)) if self.text((i,)).endswith("\n"))

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids that are not ordinary text, added control tokens among them."""
        added = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return frozenset(added.union(self.tokenizer.all_special_ids))

    def control_id(self, token: str) -> int:
        """Return the id of a control token; ModelError when the tokenizer does not have it as one token."""
        found = self.tokenizer.convert_tokens_to_ids(token)
        if found is None or found == self.tokenizer.unk_token_id:
            raise ModelError(
                f"this model has no token {token!r}. Train it with the method, or add it with prepare_base."
            )
        return found

    def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """Encode text. Text that merely spells a special or control token stays text.

        `special=True` adds what the tokenizer puts around a prompt (a beginning-of-sequence token).
        """
        return tuple(self.tokenizer(text, add_special_tokens=special, split_special_tokens=True)["input_ids"])

    def text(self, token_ids: Sequence[int]) -> str:
        """Decode ids for a person or a scorer; control tokens included, the end token left out."""
        end = self.tokenizer.eos_token_id  # asked once: tokenizers look it up anew each time
        kept = [i for i in token_ids if i != end]
        return self.tokenizer.decode(kept, skip_special_tokens=False)

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """Render a problem as the ids that generation starts from."""
        return self.question(problem.prompt)

    def question(self, text: str) -> tuple[int, ...]:
        """Render the text of a question as the ids that generation starts from."""
        return self.compose((text,))

    def compose(self, parts: Sequence[str | tuple[int, ...]]) -> tuple[int, ...]:
        """Render a question that is made of text and of ids (control tokens, say) as generation's prompt."""
        template = self.template or ("chat" if self.tokenizer.chat_template else PLAIN)
        if template != "chat":
            before, _, after = template.partition("{question}")
            joined: list[str | tuple[int, ...]] = [""]
            for part in (before, *parts, after):
                if isinstance(part, str) and isinstance(joined[-1], str):
                    joined[-1] += part  # stretches of text are encoded whole: a piece may span their borders
                else:
                    joined.append(part)
            encoded = [
                self.encode(part, special=index == 0) if isinstance(part, str) else part
                for index, part in enumerate(joined)
            ]
            return tuple(i for part in encoded for i in part)
        # The template is rendered around a marker so that a question spelling a control token stays text.
        marker = "\x00question\x00"
        whole = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": marker}], tokenize=False, add_generation_prompt=True
        )
        before, found, after = whole.partition(marker)
        if not found:
            raise ModelError(
                "this model's chat template rewrites the question. Set model.template to a text with {question}."
            )
        frame = [
            tuple(self.tokenizer(part, add_special_tokens=False, split_special_tokens=False)["input_ids"])
            for part in (before, after)
        ]
        content = tuple(i for part in parts for i in (self.encode(part) if isinstance(part, str) else part))
        return frame[0] + content + frame[1]

    def steps(self, solution: str) -> tuple[tuple[int, ...], ...]:
        """Encode a solution line by line, so that a step is whole tokens; the last ends with the end token."""
        lines = solution.splitlines(keepends=True)
        options = {"add_special_tokens": False, "split_special_tokens": True}
        encoded = [tuple(ids) for ids in self.tokenizer(lines, **options)["input_ids"]] if lines else []
        if not encoded:
            raise ConfigError("a solution must have at least one line")
        return (*encoded[:-1], (*encoded[-1], self.end_id))

    def solution(self, text: str) -> tuple[int, ...]:
        """Encode a whole solution, end token included."""
        return tuple(i for step in self.steps(text) for i in step)

    def example(self, problem: Problem, reply: Sequence[int]) -> Example:
        """Make a plain causal example: the prompt is seen, every id of the reply is learned."""
        prompt = self.prompt(problem)
        ids = (*prompt, *reply)
        weights = (*(0.0,) * (len(prompt) - 1), *(1.0,) * len(reply), 0.0)
        return Example(ids, (*ids[1:], 0), weights, problem_id=problem.id)

    def trace(
        self,
        problem_id: str,
        completion: Completion,
        *,
        undo_id: int | None = None,
        unit: str = "token",
        kinds: Sequence[tuple[StepKind, int]] | None = None,
    ) -> Trace:
        """Turn what an engine wrote into a trace: one step for each run of tokens that share a fate, up to a rewind.

        `undo_id` is given when the decoder kept retracted text in the context, so that the retractions are still to be
        resolved. `kinds` says of every token what it is when it survives, and which step of the reply it belongs to:
        a new step begins where either changes. A surviving stretch's text is cut from the decoded whole, so that
        characters of several tokens stay whole.
        """
        if completion.stop == "error":
            return Trace(problem_id, (), "error", completion.error)
        fates: list[str] = list(completion.fates)
        if undo_id is not None:
            resolved = resolve(completion.token_ids, undo_id, unit=unit, step_ends=self.step_ends)  # type: ignore[arg-type]
            fates = ["control" if fate in ("undo", "noop") else fate for fate in resolved.fates]
        rewinds = _by_place(completion.rewinds)
        plain: list[tuple[StepKind, int]] = [("text", 0)] * len(fates)
        marks = [*zip(fates, kinds or plain, strict=True)]
        steps: list[Step] = []
        kept: list[int] = []
        spelled = 0
        start = 0
        for index in range(1, len(fates) + 1):
            if index < len(fates) and marks[index] == marks[start] and index not in rewinds:
                continue
            ids, logprobs = completion.token_ids[start:index], completion.logprobs[start:index]
            fate, (said, _) = marks[start]
            start = index
            survives = fate in ("kept", "inserted")
            if survives:
                kept.extend(ids)
                whole = self.text(kept)
                if any(later in ("kept", "inserted") for later in fates[index:]):
                    whole = whole.rstrip("\ufffd")  # half a character: it belongs to the stretch that completes it
                text, spelled = whole[spelled:], len(whole)
            else:
                text = self.text(ids)
            taken_back: dict[str, StepKind] = {"deleted": "error", "control": "undo"}
            kind = taken_back.get(fate, said)
            sampled = fate != "inserted"
            known = tuple(round(value, 4) for value in logprobs) if sampled else ()
            steps.append(Step(kind, text, ids, sampled, survives, known, rewinds.get(index)))
        return Trace(problem_id, tuple(steps), completion.stop)


def _by_place(rewinds: Sequence[tuple[int, Rewind]]) -> dict[int, Rewind]:
    """Return rewinds by the number of tokens written before them; those at one place as one."""
    places: dict[int, Rewind] = {}
    for at, rewind in rewinds:
        before = places.get(at, Rewind(0)).n
        places[at] = Rewind(before + rewind.n, rewind.ban)
    return places
