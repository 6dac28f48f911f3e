"""Tags around actions and observations: `<search>…</search>`, `<observation>…</observation>`, `<answer>…</answer>`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH
from thinktwice.methods.react.grammar import Reading
from thinktwice.methods.react.shots import Shot
from thinktwice.methods.react.surface import Surface
from thinktwice.render import Render
from thinktwice.types import ControlToken

OBSERVATION = "observation"
TAGS = tuple(f"<{slash}{name}>" for name in (SEARCH, OPEN, ANSWER, OBSERVATION) for slash in ("", "/"))
_SAYS = {
    SEARCH: ("what is searched for", ("search", "find", "look")),
    OPEN: ("the title of a page to be opened", ("open", "page", "read")),
    ANSWER: ("the final answer", ("answer", "so", "result")),
    OBSERVATION: ("what a tool found", ("observation", "found", "page")),
}


def tag_tokens(tools: Sequence[str] = (SEARCH, OPEN)) -> tuple[ControlToken, ...]:
    """Return the tags of some tools, of the answer and of observations, as tokens to add to a model."""
    made = []
    for name in (*tools, ANSWER, OBSERVATION):
        says, words = _SAYS[name]
        made.append(ControlToken(f"<{name}>", f"This token begins {says}.", words))
        made.append(ControlToken(f"</{name}>", f"This token ends {says}.", ("end", ".", "\n")))
    return tuple(made)


@dataclass(frozen=True)
class Tags:
    """Tags around every action and observation; as tokens (a nano model has one id each), or in letters."""

    render: Render
    tools: tuple[str, ...] = (SEARCH, OPEN)
    """What may be called: these have tags."""
    shots: tuple[Shot, ...] = ()
    """Worked examples in the prompt."""
    told: str | None = None
    """What the model is told first; None: nothing where tags are tokens, which must be learned anyway."""
    control: bool = True
    """Whether each tag is one token of the model."""

    @cached_property
    def surface(self) -> Surface:
        """Text with the tags."""
        return Surface(self.render, tuple(token.token for token in tag_tokens(self.tools)), self.control)

    @property
    def tokens(self) -> dict[str, int]:
        """The tags that are tokens."""
        return self.surface.ids

    @property
    def names(self) -> dict[str, str]:
        """The tools' own names."""
        return {tool: tool for tool in self.tools}

    @cached_property
    def silenced(self) -> tuple[int, ...]:
        """The tags of observations."""
        return tuple(self.tokens[mark] for mark in (f"<{OBSERVATION}>", f"</{OBSERVATION}>") if mark in self.tokens)

    @cached_property
    def watch(self) -> frozenset[int]:
        """The closing tags; in letters every id that spells `>`; and the end token."""
        if not self.control:
            return self.surface.holding(">") | {self.render.end_id}
        return frozenset((*(self.tokens[f"</{name}>"] for name in (*self.tools, ANSWER)), self.render.end_id))

    def prompt(self, question: str) -> tuple[int, ...]:
        """Put instructions and worked examples before the question."""
        if not self.shots:
            return self.render.question(self._told() + question)
        parts: list[str | tuple[int, ...]] = [self._told()]
        for shot in self.shots:
            parts += [f"{shot.question}\n"]
            for turn in shot.turns:
                parts.append(self.act(turn.thought, turn.tool, turn.argument))
                parts.append(self.observe(turn.observation) if turn.tool != ANSWER else "\n\n")
        return self.render.compose((*parts, question))

    def read(self, ids: Sequence[int], *, ended: bool = False) -> Reading | None:
        """Read up to the first closing tag; the last opening tag before it must be its own."""
        text = self.surface.text(ids)
        found = self._closing.search(text)
        if found is None:
            return Reading(text.strip(), "", "", self._no_action(), len(ids), len(ids)) if ended else None
        opened = [*self._opening.finditer(text, 0, found.start())]
        names = self._tags
        if not opened or names[opened[-1][0]] != names[found[0]]:
            start = opened[-1].start() if opened else found.start()
            error = self._no_action()
            return Reading(
                text[:start].strip(), "", "", error, self.surface.index(ids, text, start), tail=text[found.end() :]
            )
        first, last = opened[-1].end(), found.start()
        argument = text[first:last]
        return Reading(
            text[: opened[-1].start()].strip(),
            names[found[0]],
            argument.strip(),
            action=self.surface.index(ids, text, opened[-1].start()),
            query=self.surface.index(ids, text, first + len(argument) - len(argument.lstrip())),
            tail=text[found.end() :],
        )

    def act(self, thought: str, tool: str, argument: str) -> tuple[int, ...]:
        """Write a thought on a line of its own, and the action."""
        line = f"{thought.strip()}\n" if thought.strip() else ""
        return self.surface.spell(line, f"<{tool}>", argument.strip(), f"</{tool}>")

    def observe(self, text: str) -> tuple[int, ...]:
        """Write an observation between its tags, in letters on a line of its own."""
        edge = "" if self.control else "\n"
        return self.surface.spell(edge, f"<{OBSERVATION}>", text.strip(), f"</{OBSERVATION}>", edge)

    def observed(self, text: str) -> str:
        """Return what stands between the tags."""
        return text.strip().removeprefix(f"<{OBSERVATION}>").removesuffix(f"</{OBSERVATION}>").strip()

    def force(self) -> tuple[int, ...]:
        """Open the tag of the answer."""
        return self.surface.spell(f"<{ANSWER}>")

    def finish(self, argument: str) -> tuple[int, ...]:
        """Write the answer and close the tag."""
        return self.surface.spell(argument.strip(), f"</{ANSWER}>")

    @cached_property
    def _tags(self) -> dict[str, str]:
        return {self.surface.sign(mark): name for name in (*self.tools, ANSWER) for mark in (f"<{name}>", f"</{name}>")}

    @cached_property
    def _opening(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(self.surface.sign(f"<{name}>")) for name in (*self.tools, ANSWER)))

    @cached_property
    def _closing(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(self.surface.sign(f"</{name}>")) for name in (*self.tools, ANSWER)))

    def _no_action(self) -> str:
        return f"no action could be read. Write <{self.tools[0]}>words</{self.tools[0]}> or <{ANSWER}>words</{ANSWER}>."

    def _told(self) -> str:
        if self.told is not None or self.control:
            return self.told or ""
        lines = {SEARCH: "words to search for", OPEN: "the title of a page"}
        forms = "".join(f"<{tool}>{lines.get(tool, 'words')}</{tool}>\n" for tool in self.tools)
        return (
            "Answer the question in steps. Every step is a thought and one action:\n"
            f"{forms}An observation follows. When the answer is known, the action is\n"
            f"<{ANSWER}>the answer, as short as possible</{ANSWER}>\n\n"
        )
