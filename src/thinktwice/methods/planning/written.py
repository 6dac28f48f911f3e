"""An answer read line by line: the block each line was given, and what the line says."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thinktwice.render import Render
from thinktwice.types import Trace

if TYPE_CHECKING:
    from thinktwice.methods.planning import Planning

UNTYPED, NO_BLOCK = "untyped", "no block"
"""How lines are called whose block has no type, or that have none."""
_TAG = re.compile(r"\[(.*?)\] ")


@dataclass(frozen=True, slots=True)
class Written:
    """One line of an answer."""

    types: tuple[str, ...]
    """As the model wrote them; "answer" and "assignment" among them."""
    text: str
    """What a user sees of it, line break included."""
    token_ids: tuple[int, ...]
    """All of it in the context, its block and empty lines before it included."""
    planning: int
    """How many of them are planning tokens (or a tag's)."""
    drawn: int
    """How many of those the model drew; the grammar appended the others."""

    @property
    def type(self) -> str:
        """Its types as one name, each once."""
        return " ".join(dict.fromkeys(self.types)) or (UNTYPED if self.planning else NO_BLOCK)

    @property
    def line(self) -> str:
        """Its text as one line for an oracle."""
        return " ".join(self.text.splitlines())


def written(method: "Planning", trace: Trace, render: Render) -> list[Written]:
    """Read what survives of an answer. Law: the lines' ids in order are the ids that survive, up to the last text.

    Where the plan stands in front (`plan_first`) its blocks are given to the lines in order.
    """
    openings = method.blocks(render).openings
    lines: list[Written] = []
    ahead: list[tuple[str, ...]] = []
    types: list[str] = []
    ids: list[int] = []
    text, planning, drawn = "", 0, 0
    for step in (*trace.kept, None):
        if step is not None:
            ids += step.token_ids
            if step.kind != "plan":
                text += step.text
            else:
                types += (
                    _TAG.findall(step.text) if method.tags else [openings[i] for i in step.token_ids if i in openings]
                )
                planning += len(step.token_ids)
                drawn += step.sampled * len(step.token_ids)
            if not step.token_ids or step.token_ids[-1] not in render.step_ends:
                continue
        if text.strip():
            own = tuple(types) or (ahead.pop(0) if ahead else ())
            lines.append(Written(own, text, tuple(ids), planning, drawn))
            ids, planning, drawn = [], 0, 0
        elif types and method.placement == "plan_first":
            ahead.append(tuple(types))
        types, text = [], ""
    return lines
