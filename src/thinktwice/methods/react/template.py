"""The tool calls of a model's own chat template (Hermes', Qwen's: a JSON object between two marks).

Nothing of the template is written here: a conversation with placeholders is rendered by the tokenizer, and cut where
they stand. So the ids are those of `apply_chat_template(tools=…)`, what fills the places stays plain text, and a
template that cannot be continued (one that rewrites earlier turns) is refused.

A reply without a call is the final answer: what follows its last `Answer:`, or all of it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from thinktwice.errors import ModelError
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH
from thinktwice.methods.react.grammar import Reading
from thinktwice.methods.react.shots import Shot
from thinktwice.methods.react.surface import Surface
from thinktwice.render import Render

PARAMETERS = {SEARCH: "query", OPEN: "title"}
_SAYS = {
    SEARCH: ("Search the encyclopedia.", "Words to search for."),
    OPEN: ("Open a page of the encyclopedia.", "The title of the page."),
}
_TOLD = (
    "Answer the question. Think, and call one tool at a time to look up what you do not know. When you know the "
    "answer, end with a line 'Answer: ' and the answer, as short as possible."
)
_PLACE = re.compile(r"zqx(\d+)xqz")


def schema(tool: str) -> dict[str, Any]:
    """Return a tool as chat templates take it."""
    says, parameter = _SAYS[tool]
    properties = {PARAMETERS[tool]: {"type": "string", "description": parameter}}
    parameters = {"type": "object", "properties": properties, "required": [PARAMETERS[tool]]}
    return {"type": "function", "function": {"name": tool, "description": says, "parameters": parameters}}


@dataclass(frozen=True)
class Frame:
    """The pieces of a template between the thought, the argument and the observation of a turn."""

    before: str
    call: str
    close: str
    observation: str
    after: str


@dataclass(frozen=True)
class Template:
    """Tool calls as the model's own chat template writes them."""

    render: Render
    tools: tuple[str, ...] = (SEARCH, OPEN)
    """What the template says may be called."""
    shots: tuple[Shot, ...] = ()
    """Worked examples, as turns of the conversation."""
    told: str | None = None
    """The system message; None: to call one tool at a time, and how to answer; empty: none."""
    opening: str = "<tool_call>"
    closing: str = "</tool_call>"
    """What stands around a call in this template."""

    @cached_property
    def surface(self) -> Surface:
        """Text with the marks of calls and results; those that the vocabulary has as one token are that token."""
        marks = (self.opening, self.closing, "<tool_response>", "</tool_response>")
        return Surface(self.render, marks, None)

    @property
    def tokens(self) -> dict[str, int]:
        """The marks that are tokens."""
        return self.surface.ids

    @property
    def names(self) -> dict[str, str]:
        """The tools' own names."""
        return {tool: tool for tool in self.tools}

    @cached_property
    def silenced(self) -> tuple[int, ...]:
        """The marks of tool results, where they are tokens."""
        return tuple(self.tokens[mark] for mark in ("<tool_response>", "</tool_response>") if mark in self.tokens)

    @cached_property
    def watch(self) -> frozenset[int]:
        """The closing mark, in letters every id that spells its last sign, and the end token."""
        closing = self.tokens.get(self.closing)
        found = self.surface.holding(self.closing[-1]) if closing is None else frozenset((closing,))
        return found | {self.render.end_id}

    def prompt(self, question: str) -> tuple[int, ...]:
        """Render system message, tools, worked examples and the question, up to the model's first turn."""
        places = _Places()
        messages = [*self._system(), *self._shown(places), {"role": "user", "content": places(question)}]
        return self._fill(self._rendered(messages), places.texts)

    def read(self, ids: Sequence[int], *, ended: bool = False) -> Reading | None:
        """Read up to the first closing mark; where the model would stop, what is no call is the answer."""
        text = self.surface.text(ids)
        opening, closing = (self.surface.sign(mark) for mark in (self.opening, self.closing))
        end, start = text.find(closing), text.find(opening)
        if end < 0:
            if not ended:
                return None
            if start >= 0:
                return self._unread(ids, text, start, "the tool call does not end", "")
            thought, said, argument = text.rpartition("Answer:")
            place = len(thought) + len(said) + len(argument) - len(argument.lstrip())
            return Reading(
                thought.strip(),
                ANSWER,
                argument.strip(),
                action=self.surface.index(ids, text, len(thought) if said else place),
                query=self.surface.index(ids, text, place),
            )
        tail = text[end + len(closing) :]
        if not 0 <= start < end:
            return self._unread(ids, text, end, "the tool call has no beginning", tail)
        inside = text[start + len(opening) : end]
        call = _parsed(inside)
        if isinstance(call, str):
            return self._unread(ids, text, start, call, tail)
        tool, argument = call
        spelled = json.dumps(argument, ensure_ascii=False)[1:-1]
        place = inside.rfind(spelled) if spelled else -1
        place = start + len(opening) + (place if place >= 0 else max(0, inside.rfind(":")))
        return Reading(
            text[:start].strip(),
            tool,
            argument.strip(),
            action=self.surface.index(ids, text, start),
            query=self.surface.index(ids, text, place),
            tail=tail,
        )

    def act(self, thought: str, tool: str, argument: str) -> tuple[int, ...]:
        """Write a call as the template does; an answer as a line of its own, with the end token."""
        if tool == ANSWER:
            line = f"{thought.strip()}\n" if thought.strip() else ""
            return (*self.surface.encode(f"{line}Answer: {argument.strip()}"), self.render.end_id)
        frame = self._frame(tool, bool(thought.strip()))
        texts = [thought.strip(), json.dumps(argument.strip(), ensure_ascii=False)[1:-1]]
        return self._encode((frame.before, texts[0], frame.call, texts[1], frame.close))

    def observe(self, text: str) -> tuple[int, ...]:
        """Write the end of the model's turn, the result, and the beginning of its next turn, as the template does."""
        frame = self._frame(self.tools[0], True)
        return self._encode((frame.observation, text.strip(), frame.after))

    def observed(self, text: str) -> str:
        """Return what stands in the result's place."""
        frame = self._frame(self.tools[0], True)
        before, after = (self.render.text(self._encode((piece,))) for piece in (frame.observation, frame.after))
        return text.removeprefix(before).removesuffix(after).strip()

    def force(self) -> tuple[int, ...]:
        """Begin the line of the answer."""
        return self.surface.encode("Answer:")

    def finish(self, argument: str) -> tuple[int, ...]:
        """Write the answer and the end token."""
        return (*self.surface.encode(f" {argument.strip()}"), self.render.end_id)

    def _unread(self, ids: Sequence[int], text: str, start: int, what: str, tail: str) -> Reading:
        example = json.dumps({"name": self.tools[0], "arguments": {PARAMETERS[self.tools[0]]: "…"}}, ensure_ascii=False)
        error = f"{what}. Between the marks of a call write JSON, for example {example}."
        return Reading(text[:start].strip(), "", "", error, self.surface.index(ids, text, start), tail=tail)

    def _system(self) -> list[dict[str, Any]]:
        told = _TOLD if self.told is None else self.told
        return [{"role": "system", "content": told}] if told else []

    def _shown(self, places: "_Places") -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for shot in self.shots:
            messages.append({"role": "user", "content": places(shot.question)})
            for turn in shot.turns:
                if turn.tool == ANSWER:
                    said = f"{turn.thought}\nAnswer: {turn.argument}".lstrip()
                    messages.append({"role": "assistant", "content": places(said)})
                else:
                    messages.append(_calling(turn.tool, places(turn.thought), places(turn.argument, json_too=True)))
                    messages.append({"role": "tool", "name": turn.tool, "content": places(turn.observation)})
        return messages

    def _frame(self, tool: str, thinking: bool) -> Frame:
        found = self._frames.get((tool, thinking))
        if found is None:
            found = self._frames[tool, thinking] = self._cut(tool, thinking)
        return found

    @cached_property
    def _frames(self) -> dict[tuple[str, bool], Frame]:
        return {}

    def _cut(self, tool: str, thinking: bool) -> Frame:
        """Render one turn with its result after a question, and cut it at its places."""
        places = _Places()
        asked = [*self._system(), {"role": "user", "content": places("")}]
        turn = [
            _calling(tool, places("") if thinking else "", places("")),
            {"role": "tool", "name": tool, "content": places("")},
        ]
        before, once = self._rendered(asked), self._rendered([*asked, *turn])
        twice = self._rendered([*asked, *turn, *turn])
        if not once.startswith(before) or not twice.startswith(once) or twice[len(once) :] != once[len(before) :]:
            raise ModelError(
                "this model's chat template writes earlier turns anew, so an episode in it cannot be continued. "
                "Use grammar=text or grammar=tags."
            )
        pieces = _PLACE.split(once[len(before) :])[::2]
        pieces = pieces if thinking else ["", *pieces]
        close, mark, observation = (pieces[2] if len(pieces) == 4 else "").partition(self.closing)
        if not mark:
            raise ModelError(
                f"this model's chat template does not write tool calls that end with {self.closing!r} and results "
                "after them. Name its marks, or use grammar=text or grammar=tags."
            )
        return Frame(pieces[0], pieces[1], close + mark, observation, pieces[3])

    def _rendered(self, messages: Sequence[Mapping[str, Any]]) -> str:
        tokenizer = self.render.tokenizer
        if not tokenizer.chat_template:
            raise ModelError("grammar=template needs a tokenizer with a chat template. Use grammar=text or tags.")
        tools = [schema(tool) for tool in self.tools]
        return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True))

    def _fill(self, rendered: str, texts: Sequence[str]) -> tuple[int, ...]:
        pieces = _PLACE.split(rendered)
        missing = set(range(len(texts))) - {int(number) for number in pieces[1::2]}
        if missing:
            raise ModelError("this model's chat template leaves out parts of the conversation. Use grammar=text.")
        return self._encode([texts[int(piece)] if index % 2 else piece for index, piece in enumerate(pieces)])

    def _encode(self, pieces: Sequence[str]) -> tuple[int, ...]:
        """Encode pieces of the template (even ones) and what fills its places (odd ones) as one text, as it would be.

        Only in the template are marks and special tokens what they spell: in a place they are parted.
        """
        text = "".join(self._parted(piece) if index % 2 else piece for index, piece in enumerate(pieces))
        encode = self.render.tokenizer
        return tuple(
            i
            for part in text.split("\0")
            for i in encode(part, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        )

    def _parted(self, text: str) -> str:
        text = text.replace("\0", "")
        for spelled in self._spelled:
            text = text.replace(spelled, f"{spelled[:1]}\0{spelled[1:]}")
        return text

    @cached_property
    def _spelled(self) -> tuple[str, ...]:
        """What the tokenizer would take for one of its added tokens, longest first."""
        added = (str(token) for token in self.render.tokenizer.added_tokens_decoder.values())
        return tuple(sorted({token for token in added if len(token.strip()) > 1}, key=lambda t: (-len(t), t)))


class _Places:
    """Hands out placeholders, and keeps what belongs there."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str, *, json_too: bool = False) -> str:
        self.texts.append(json.dumps(text, ensure_ascii=False)[1:-1] if json_too else text)
        return f"zqx{len(self.texts) - 1}xqz"


def _calling(tool: str, thought: str, argument: str) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": tool, "arguments": {PARAMETERS[tool]: argument}}}
    return {"role": "assistant", "content": thought, "tool_calls": [call]}


def _parsed(inside: str) -> tuple[str, str] | str:
    """Return tool and argument of a call's JSON, or what is wrong with it."""
    try:
        call = json.loads(inside, strict=False)
        arguments = call.get("arguments") if isinstance(call, dict) else None
        arguments = json.loads(arguments, strict=False) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return "the tool call is not JSON"
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return "the tool call has no name"
    if not isinstance(arguments, dict) or not arguments:
        return "the tool call has no arguments"
    named = PARAMETERS.get(call["name"], "")
    argument = arguments.get(named, next(iter(arguments.values())))
    return (call["name"], argument) if isinstance(argument, str) else "the tool call's argument is not a text"
