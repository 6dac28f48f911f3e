"""Araft's grammar: `Thought: …`, `Action: [action: Wikipedia, action_input: …]`, `Observation: …`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH, Turn
from thinktwice.methods.react.grammar import Reading, one_line
from thinktwice.methods.react.shots import Shot
from thinktwice.methods.react.surface import Surface
from thinktwice.render import Render


@dataclass(frozen=True)
class Text:
    """Araft's grammar, in letters, so that any model can be prompted with it. Other names are read as unknown tools."""

    render: Render
    tools: tuple[str, ...] = (SEARCH,)
    """What the model is told it may call."""
    shots: tuple[Shot, ...] = ()
    """Worked examples in the prompt."""
    told: str | None = None
    """What the model is told first; None: the form of a step, and what each action does."""

    @cached_property
    def surface(self) -> Surface:
        """Letters only."""
        return Surface(self.render)

    @property
    def tokens(self) -> dict[str, int]:
        """None: it is all letters."""
        return {}

    @property
    def names(self) -> dict[str, str]:
        """The words in actions."""
        return {tool: _WORDS[tool] for tool in self.tools}

    @property
    def silenced(self) -> tuple[int, ...]:
        """None: a model may write what it likes, and what it imagines to have observed is no observation."""
        return ()

    @cached_property
    def watch(self) -> frozenset[int]:
        """Every id that spells a closing bracket (81 of Llama-2's do), and the end token."""
        return self.surface.holding("]") | {self.render.end_id}

    def prompt(self, question: str) -> tuple[int, ...]:
        """Put instructions and worked examples before the question, as araft has them."""
        shown = "".join(
            f"Question: {one_line(shot.question)}\n"
            + "".join(
                _step(turn.thought, turn.tool, turn.argument) + (_observation(turn) if turn.tool != ANSWER else "\n\n")
                for turn in shot.turns
            )
            for shot in self.shots
        )
        return self.render.question(f"{self._told()}{shown}Question: {one_line(question)}\n")

    def read(self, ids: Sequence[int], *, ended: bool = False) -> Reading | None:
        """Read the first `Action: […]`, up to its first closing bracket."""
        text = self.surface.text(ids)
        found = _ACTION.search(text)
        if found is None:
            return Reading(_thought(text), "", "", _NO_ACTION, len(ids), len(ids)) if ended else None
        start, end = found.span()
        inside = _INSIDE.fullmatch(found[0])
        if inside is None:
            return Reading(
                _thought(text[:start]), "", "", _NO_ACTION, self.surface.index(ids, text, start), tail=text[end:]
            )
        name, argument = inside["name"], inside["argument"]
        place = start + inside.start("argument") + len(argument) - len(argument.lstrip())
        return Reading(
            _thought(text[:start]),
            _TOOLS.get(name.casefold(), name),
            argument.strip(),
            action=self.surface.index(ids, text, start),
            query=self.surface.index(ids, text, place),
            tail=text[end:],
        )

    def act(self, thought: str, tool: str, argument: str) -> tuple[int, ...]:
        """Write thought and action; brackets in them, which would end the action, become round."""
        return self.surface.encode(_step(thought, tool, argument))

    def observe(self, text: str) -> tuple[int, ...]:
        """Write an observation on a line of its own."""
        return self.surface.encode(f"\nObservation: {one_line(text)}\n")

    def observed(self, text: str) -> str:
        """Return what stands after `Observation:`."""
        return text.strip().removeprefix("Observation:").strip()

    def force(self) -> tuple[int, ...]:
        """Begin a final answer, up to where it stands (without the space, which is part of its first word)."""
        return self.surface.encode(f"Thought: {_FORCED}\nAction: [action: Answer, action_input:")

    def finish(self, argument: str) -> tuple[int, ...]:
        """Write the answer and its bracket."""
        return self.surface.encode(f" {_flat(argument)}]")

    def _told(self) -> str:
        if self.told is not None:
            return self.told
        open_too = "Action: [action: Page, action_input: the title of a page]\n" if OPEN in self.tools else ""
        return (
            "Answer the question in steps. Every step is a thought and one action:\n"
            "Thought: what is known and what is missing\n"
            "Action: [action: Wikipedia, action_input: words to search for]\n"
            f"{open_too}"
            "An observation follows. When the answer is known, the action is\n"
            "Action: [action: Answer, action_input: the answer, as short as possible]\n\n"
        )


_FORCED = "I have to answer now."
_NO_ACTION = (
    "no action could be read. Write a thought, and then one action, for example "
    "Action: (action: Wikipedia, action_input: words to search for), with square brackets."
)
_ACTION = re.compile(r"Action:[ \t]*\[[^\]]*\]")
_INSIDE = re.compile(r"Action:[ \t]*\[\s*action:\s*(?P<name>[^,\n]*?)\s*,\s*action_input:(?P<argument>[^\n]*)\]")
_TOOLS = {"wikipedia": SEARCH, "page": OPEN, "answer": ANSWER}
_WORDS = {tool: name.title() for name, tool in _TOOLS.items()}


def _thought(text: str) -> str:
    return text.strip().removeprefix("Thought:").strip()


def _step(thought: str, tool: str, argument: str) -> str:
    return f"Thought: {_flat(thought)}\nAction: [action: {_WORDS.get(tool, tool)}, action_input: {_flat(argument)}]"


def _flat(text: str) -> str:
    return one_line(text).replace("[", "(").replace("]", ")")


def _observation(turn: Turn) -> str:
    return f"\nObservation: {one_line(turn.observation)}\n"
