"""How candidates are to come about, and what became of every problem: one row each, written once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.errors import ConfigError
from thinktwice.methods.transplant.data import Item
from thinktwice.methods.transplant.writing import Role


@dataclass(frozen=True, slots=True)
class Arguing:
    """How candidates come about."""

    mode: Literal["sample", "roles"] = "sample"
    """sample: right and wrong ones from one prompt, drawn above temperature 0, so that the prompt says nothing of the
    label. roles: right ones argument first, wrong ones answer first, as the seed did."""
    ask: Literal["json", "question"] = "json"
    """question: the bare question, and the whole reply is the candidate: for models that were trained on the task, and
    for states that are the writer's own. With mode=sample only."""
    base: bool = False
    """The writer is no chat model: it goes on inside an open JSON string."""
    samples: int = 4
    """Candidates a question; with mode=sample."""
    attempts: int = 3
    """Replies asked for at most for each thing wanted, before the question is given up."""
    balanced: bool = False
    """Keep as many right as wrong candidates of a question, the first of each."""
    unanimous: bool = False
    """Keep questions whose candidates are all right or all wrong, too (best-of-N needs them; pairs do not)."""
    choice: bool = False
    """Have an argument for one of two candidates written: the first right one and the first wrong one."""
    state_answer: bool = True
    """End a candidate that was written as JSON with its answer, so that every label can be read off the text."""
    max_failures: float = 0.2
    """Share of questions that may be lost to a failing server before the run stops."""
    batch_size: int = 256
    """Questions that are worked on together; each batch is in the ledger when it is settled."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("samples", "attempts", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more; got {getattr(self, name)}.")
        if self.mode == "roles" and self.ask == "question":
            raise ConfigError("mode=roles asks for JSON (the order of its fields is the role); set ask=json.")
        if self.mode == "sample" and self.samples < 2:
            raise ConfigError("mode=sample needs samples of 2 or more: one right and one wrong.")
        if self.choice and self.unanimous:
            raise ConfigError("choice asks about one right and one wrong candidate; leave unanimous off.")
        if self.base and self.ask == "question":
            raise ConfigError("ask=question is asked in the model's own template; leave base off.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one reply."""

    role: Role
    sample: int
    outcome: str
    """"right", "wrong", "chosen", or the reason why it could not be read."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A problem that is done: a row of the ledger."""

    key: str
    """Of the problem, whole, and of all settings that decide its candidates."""
    item: Item | None
    reason: str
    """Why there is no item; empty when there is one."""
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Written:
    """The counts of one run; saved as summary.json. The seed's ent_o, gen_c and gen_b are the first three."""

    written: int
    """Items."""
    checked: int
    """Replies that were read."""
    bad_format: int
    """Replies that could not be read."""
    problems: int
    dropped: dict[str, int]
    """Reason -> problems."""
    open: dict[str, int]
    """Problems that the server failed on, by reason; the same command asks again."""
    outcomes: dict[str, int]
    """Role and outcome -> replies."""
    right: int
    """Right candidates of the items."""
    wrong: int

    def __str__(self) -> str:
        """Tell where everything went, a line each."""
        lost = sum(self.dropped.values())
        lines = [f"{self.problems} questions = {self.written} kept + {lost} dropped"]
        lines[0] += f" + {sum(self.open.values())} open" if self.open else ""
        lines += [f"  dropped {count}: {reason}" for reason, count in self.dropped.items()]
        lines += [f"  open {count}: {reason}; the same command asks again" for reason, count in self.open.items()]
        lines.append(f"{self.checked} replies, {self.bad_format} in a bad format")
        lines += [f"  {count}: {outcome}" for outcome, count in self.outcomes.items()]
        lines.append(f"candidates: {self.right} right, {self.wrong} wrong")
        return "\n".join(lines)


def count(settled: Sequence[Settled], opened: Sequence[str]) -> Written:
    """Count settled problems, and the reasons of those that are open."""
    outcomes = [outcome for row in settled for outcome in row.outcomes]
    read = ("right", "wrong", "chose the right one", "chose the wrong one")
    candidates = [c for row in settled if row.item is not None for c in row.item.candidates]
    return Written(
        written=sum(row.item is not None for row in settled),
        checked=len(outcomes),
        bad_format=sum(outcome.outcome not in read for outcome in outcomes),
        problems=len(settled) + len(opened),
        dropped=dict(Counter(row.reason for row in settled if row.item is None).most_common()),
        open=dict(Counter(opened).most_common()),
        outcomes=dict(Counter(f"{o.role.replace('_', ' ')}: {o.outcome}" for o in outcomes).most_common()),
        right=sum(c.right for c in candidates),
        wrong=sum(not c.right for c in candidates),
    )
