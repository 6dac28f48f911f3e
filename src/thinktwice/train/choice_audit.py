"""What a verifier is about to learn, before step 1. Law 2: nothing is cut, dropped or left unlearned in silence."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinktwice.decode.transplant import Verifier
from thinktwice.errors import DataError, TrainError
from thinktwice.train.audit import Dropped
from thinktwice.train.choices import group_orders
from thinktwice.train.settings import Training
from thinktwice.types import Choice


@dataclass(frozen=True, slots=True)
class ChoiceAudit:
    """The facts of a verifier's training set."""

    kept: tuple[Choice, ...]
    """What is trained on."""
    dropped: tuple[Dropped, ...]
    n: int
    """Choices trained on."""
    items: int
    """Of these, different items: both orders of one count once."""
    both_orders: float
    """Share of the items that are asked in more than one order."""
    slots: tuple[int, ...]
    """How often the right candidate is shown first, second, ...: what a constant would get right."""
    length_p50: int
    """Median of the chooser's texts, in tokens."""
    length_max: int
    argued_p50: int
    """Median of the texts that rows are moved from; 0 where nothing is moved."""
    argued_max: int
    max_length: int
    """The longest text allowed, in tokens."""
    moved_share: float
    """Of the tokens the chooser reads, those whose keys and values are the arguer's."""
    foreign: int
    """Choices that move another text's states, on purpose."""
    identical: int
    """Choices whose candidates move the same tokens from the same text: nobody can tell them apart."""
    repeated: int
    """Choices that are there more than once, to the last token."""
    tokens: int
    """That both readers read in one pass over the choices, each argued text once an item."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the choices themselves."""
        facts = {name: value for name, value in asdict(self).items() if name != "kept"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}

    def lines(self, tokenizer: object = None) -> list[str]:
        """Return the facts as lines of plain text."""
        constant = max(self.slots) / max(1, sum(self.slots))
        lines = [
            f"choices           {self.n} between candidates of {self.items} items ({len(self.dropped)} dropped); "
            f"{self.both_orders:.1%} of the items in both orders",
            f"right candidate   shown {', '.join(map(str, self.slots))} times in each slot; a constant would get "
            f"{constant:.1%} right",
            f"chooser reads     median {self.length_p50}, longest {self.length_max} of {self.max_length} tokens "
            "allowed; nothing is cut",
            f"arguer reads      median {self.argued_p50}, longest {self.argued_max} tokens"
            if self.moved_share
            else "arguer reads      nothing: no row is moved",
            f"moved rows        {self.moved_share:.1%} of what the chooser reads",
            f"tokens            {self.tokens} for both, an epoch",
        ]
        for count, what in (
            (self.identical, "between identical candidates: nobody can tell them apart; drop them"),
            (self.repeated, "are there more than once"),
            (self.foreign, "move another text's states (a control)"),
        ):
            if count:
                lines.append(f"note              {count} choices {what}")
        for reason, number in sorted(Counter(dropped.reason for dropped in self.dropped).items()):
            lines.append(f"dropped           {number} {reason}")
        return lines

    def write(self, out_dir: Path, dev: "ChoiceAudit | None") -> None:
        """Write audit.json, whole or not at all."""
        out_dir.mkdir(parents=True, exist_ok=True)
        aside = out_dir / f".audit.json.{os.getpid()}"
        record = {**self.to_dict(), "dev": dev.to_dict() if dev else None}
        aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
        os.replace(aside, out_dir / "audit.json")


def audit_choices(choices: Sequence[Choice], verifier: Verifier, settings: Training) -> ChoiceAudit:
    """Check every choice and gather the facts. Law 2.

    Raises:
        DataError: a choice that contradicts itself, is too long, or does not say which option is right.
        TrainError: nothing is left.
    """
    limit = settings.max_length or verifier.longest
    kept: list[Choice] = []
    dropped: list[Dropped] = []
    for choice in choices:
        longest = max(map(len, (choice.token_ids, *choice.argued)))
        if longest > min(limit, verifier.longest):
            if settings.overflow == "drop":
                dropped.append(Dropped(choice.problem_id, f"longer than {limit} tokens", longest))
                continue
            raise DataError(
                f"Choice of problem {choice.problem_id!r} has a text of {longest} tokens, {limit} are allowed. Nothing "
                "is cut: raise training.max_length, set training.overflow=drop, or use a model with a longer context."
            )
        verifier.check([choice])
        if choice.right is None:
            raise DataError(f"Choice of problem {choice.problem_id!r} does not say which option is right.")
        kept.append(choice)
    if not kept:
        raise TrainError(f"There is nothing to train on: {len(dropped)} choices were dropped, none is left.")
    items = group_orders(kept)
    lengths = sorted(len(choice.token_ids) for choice in kept)
    argued = sorted(len(choice.argued[k]) for choice in kept for k in {move.source for move in choice.moves})
    moved = sum(move.n for choice in kept for move in choice.moves)
    slots = Counter(choice.right for choice in kept)
    read_once = sum(len(text) for item in items for text in {c.argued[m.source] for c in item for m in c.moves})
    return ChoiceAudit(
        kept=tuple(kept),
        dropped=tuple(dropped),
        n=len(kept),
        items=len(items),
        both_orders=sum(len(item) > 1 for item in items) / len(items),
        slots=tuple(slots[slot] for slot in range(max(len(choice.options) for choice in kept))),
        length_p50=lengths[len(lengths) // 2],
        length_max=lengths[-1],
        argued_p50=argued[len(argued) // 2] if argued else 0,
        argued_max=argued[-1] if argued else 0,
        max_length=min(limit, verifier.longest),
        moved_share=moved / sum(lengths),
        foreign=sum(not choice.same_text for choice in kept),
        identical=sum(_identical(choice) for choice in kept),
        repeated=len(kept) - len(set(kept)),
        tokens=sum(lengths) + read_once,
    )


def _identical(choice: Choice) -> bool:
    texts = [
        (choice.argued[move.source][: move.start + move.n], move.start, move.n)
        for move in sorted(choice.moves, key=lambda move: move.to)
    ]
    return len(texts) > 1 and len(set(texts)) == 1
