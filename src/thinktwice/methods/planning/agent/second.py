"""A second labeller of the kept steps. Law: it sees question and steps, never the labels it is compared with."""

import logging
from collections.abc import Mapping, Sequence

from thinktwice.engines.http import Failure
from thinktwice.methods.planning.agent import prompts, replies
from thinktwice.methods.planning.agent.agreement import Agreement, agreement
from thinktwice.methods.planning.agent.ledger import Entry
from thinktwice.methods.planning.agent.writers import Author

log = logging.getLogger(__name__)


def second_opinion(author: Author, entries: Sequence[Entry], attempts: int) -> dict[str, tuple[str, ...]]:
    """Return the labels that a second labeller gives the steps of kept problems, by key; unusable ones are left out."""
    kept = {entry.key: entry for entry in entries if entry.cot_steps}
    opinions: dict[str, tuple[str, ...]] = {}
    for sample in range(attempts):
        missing = [entry for key, entry in kept.items() if key not in opinions]
        if not missing:
            break
        asked = [author.ask(prompts.ask_labels(e.question, [s.text for s in e.steps]), sample) for e in missing]
        for entry, result in zip(missing, author.writer.chat(asked), strict=True):
            if isinstance(result, Failure):
                log.info("second labeller: %s: %s", entry.id, result.reason)
                continue
            try:
                opinions[entry.key] = replies.read_labels(result, len(entry.cot_steps))
            except replies.Unusable as unusable:
                log.info("second labeller: %s: %s", entry.id, unusable.reason)
    return opinions


def compare(entries: Sequence[Entry], opinions: Mapping[str, Sequence[str]]) -> Agreement | None:
    """Return how far the labels agree; None without any of the second."""
    labelled = [entry for entry in entries if entry.key in opinions]
    first = [step.label for entry in labelled for step in entry.steps]
    return agreement(first, [label for e in labelled for label in opinions[e.key]]) if labelled else None
