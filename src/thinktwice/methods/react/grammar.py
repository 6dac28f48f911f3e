r"""How an episode is written down: three surfaces behind one protocol. Law: decoding and training use the same.

| grammar | a turn |
|---|---|
| `text.Text` | `Thought: …\nAction: [action: Wikipedia, action_input: …]`, then `\nObservation: …\n` (araft's) |
| `tags.Tags` | `…<search>…</search>`, then `<observation>…</observation>`; each tag one token, or plain letters |
| `template.Template` | the tool calls of the model's own chat template |

An action ends at the first sign that ends one; what its last token spells beyond that is cut off. Ids that were sampled
are never encoded again: only that last token is replaced, by what its beginning is made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from thinktwice.methods.react.episode import OPEN, SEARCH
from thinktwice.methods.react.shots import SHOTS
from thinktwice.render import Render

Name = Literal["tags", "text", "template"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was written since the last observation, read up to the end of its first action."""

    thought: str
    tool: str
    """As in `Turn`."""
    argument: str
    error: str = ""
    """What is wrong with the action, in a sentence for the model; empty when it could be read."""
    action: int = 0
    """The id with which the action begins."""
    query: int = 0
    """The id with which the argument begins."""
    tail: str = ""
    """What the last id spells beyond the action's end."""


class Grammar(Protocol):
    """Writes and reads the turns of one model."""

    @property
    def render(self) -> Render:
        """The model's."""
        ...

    @property
    def tokens(self) -> dict[str, int]:
        """Its marks that are tokens of the model."""
        ...

    @property
    def names(self) -> dict[str, str]:
        """What a model calls the tools that it is told of."""
        ...

    @property
    def silenced(self) -> tuple[int, ...]:
        """Ids that a model never has cause to draw: those that begin and end an observation."""
        ...

    @property
    def watch(self) -> frozenset[int]:
        """Ids with which an action can end, the end token included."""
        ...

    def prompt(self, question: str) -> tuple[int, ...]:
        """Render a question, with what the model is told and shown, as the ids that an episode begins with."""
        ...

    def read(self, ids: Sequence[int], *, ended: bool = False) -> Reading | None:
        """Read the first action in what a model wrote since the last observation; None while there is none.

        `ended`: the model would stop here (the end token is not among `ids`), so what is no action now is an error.
        """
        ...

    def act(self, thought: str, tool: str, argument: str) -> tuple[int, ...]:
        """Write a turn up to the end of its action."""
        ...

    def observe(self, text: str) -> tuple[int, ...]:
        """Write what stands between two turns: an observation with all that frames it."""
        ...

    def observed(self, text: str) -> str:
        """Return the observation in what `observe` wrote, decoded."""
        ...

    def force(self) -> tuple[int, ...]:
        """Write the beginning of a final answer."""
        ...

    def finish(self, argument: str) -> tuple[int, ...]:
        """Write the rest of an answer that `force` began."""
        ...


def build_grammar(
    name: Name, render: Render, *, control: bool = True, tools: Sequence[str] = (SEARCH, OPEN), shots: int = 0
) -> Grammar:
    """Return a grammar by name.

    Args:
        name: "tags", "text" or "template".
        render: the model's.
        control: of tags, whether they are tokens of the model (trained), or letters (prompted).
        tools: what a model is told it may call; araft's text has a search only.
        shots: worked examples in the prompt.
    """
    from thinktwice.methods.react.tags import Tags
    from thinktwice.methods.react.template import Template
    from thinktwice.methods.react.text import Text

    shown, examples = tuple(tools), SHOTS[:shots]
    if name == "text":
        return Text(render, shown, examples)
    if name == "tags":
        return Tags(render, shown, examples, control=control)
    return Template(render, shown, examples)


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())
