"""What happened in one ReAct episode, turn by turn, whatever grammar it was written in."""

from dataclasses import dataclass

SEARCH, OPEN, ANSWER = "search", "open", "answer"


@dataclass(frozen=True, slots=True)
class Turn:
    """Thought, action, observation."""

    thought: str
    tool: str
    """`SEARCH`, `OPEN`, `ANSWER`, or what else was called for; empty when no action could be read."""
    argument: str
    observation: str = ""
    sources: tuple[str, ...] = ()
    """Titles of the pages that the observation shows."""
    tokens: int = 0
    """Tokens the model drew in this turn."""
    error: str = ""
    """Why the action was not carried out; empty when it was."""


@dataclass(frozen=True, slots=True)
class Episode:
    """All turns of one question."""

    problem_id: str
    turns: tuple[Turn, ...]
    answer: str | None
    """None when it never answered."""
    forced: bool = False
    """Whether the answer was asked for at the limit of turns."""

    @property
    def queries(self) -> tuple[str, ...]:
        """What was searched for, in order."""
        return tuple(turn.argument for turn in self.turns if turn.tool == SEARCH)

    @property
    def sources(self) -> tuple[str, ...]:
        """Titles that were seen, each once, in order."""
        return tuple(dict.fromkeys(title for turn in self.turns for title in turn.sources))
