"""HotpotQA: questions whose answer takes two pages of Wikipedia (Yang et al. 2018, CC BY-SA 4.0).

Levels are 1 easy, 2 medium, 3 hard. The published dev set has hard questions only, and the answers of the test set were
never published; so dev is what is tested on, and an even test of all levels (`per_level`) takes easy and medium
questions out of train. `Problem.kind` is "bridge" or "comparison", `Problem.support` the titles of the two pages.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from thinktwice.errors import ConfigError, DataError
from thinktwice.scoring import f1
from thinktwice.tasks import overlap as overlaps
from thinktwice.tasks import reading
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

log = logging.getLogger(__name__)

LEVELS = {"easy": 1, "medium": 2, "hard": 3}
SOURCE = Source(
    "hotpotqa",
    {
        "train": ("hotpot_train_v1.1.json", "train.json", "train.jsonl"),
        "test": (
            "hotpot_dev_distractor_v1.json",
            "hotpot_dev_fullwiki_v1.json",
            "hotpot_dev_v1_simplified.json",
            "easy.json+medium.json+hard.json",
            "test.json",
            "test.jsonl",
        ),
    },
    "hotpotqa/hotpot_qa",
    ("distractor",),
    {"train": "train", "test": "validation"},
)


def hotpotqa(
    path: str | None = None,
    *,
    dev: int = 300,
    train: int | None = None,
    per_level: int | None = None,
    contexts: bool = False,
    trained_on: Sequence[str] = (),
    overlap: Literal["refuse", "drop"] = "refuse",
    revision: str | None = None,
    quarantine: str | None = None,
) -> Task:
    """HotpotQA. Law: no tested question is trained on, by id, by text, or in nearly the same words.

    Args:
        path: a directory with hotpot_train_v1.1.json and hotpot_dev_distractor_v1.json (or easy.json, medium.json and
            hard.json: all of it is test), a file (all of it is test), a hub id, or None for the published dataset.
        dev: how many training problems become dev.
        train: how many of the others are trained on; None: all.
        per_level: so many test questions of each level, easy and medium ones taken out of train where test has none;
            None: every test question.
        contexts: whether to keep each question's ten paragraphs in `Problem.context`, as "title, line break, text".
        trained_on: files with questions that the model has met elsewhere: a test question among them is refused.
        overlap: what to do then: refuse, or drop the question from the test and say so.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.

    Raises:
        DataError: the source cannot be read, more than 1 % of its rows are bad, there are not so many questions of a
            level, or a tested question was trained on.
    """
    if overlap not in ("refuse", "drop"):
        raise ConfigError(f"task.overlap={overlap!r} must be 'refuse' or 'drop'.")

    def convert(row: Mapping[str, Any]) -> Problem:
        return problem(row, contexts=contexts)

    found = read_splits(SOURCE, convert, path=path, revision=revision, quarantine=quarantine)
    test, rest = list(found.problems["test"]), list(found.problems["train"])
    if not rest and train and not per_level:  # a source without a training part gives some of its test, if asked
        test, rest = reading.carve(test, train + dev, "hotpotqa-train")
    if trained_on:
        met = overlaps.asked_in(trained_on)
        test, rest = _unmet(test, met, overlap, "test"), _unmet(rest, met, "drop", "train") if per_level else rest
    if per_level:
        test = _even(test, rest, per_level)
    held: list[Problem] = []
    if rest:
        rest, held = reading.carve(rest, dev, "hotpotqa-dev")
    if train is not None and not 0 < train <= len(rest):
        raise DataError(f"task.train={train}, but there are {len(rest)} training problems in {path or SOURCE.hub}.")
    asked = overlaps.Asked(tuple((p.id, p.prompt) for p in (*test, *held)))
    rest = _unmet(rest, asked, "drop", "train")
    splits: dict[str, Sequence[Problem]] = {"train": rest[:train], "dev": held, "test": test}
    return Task("hotpotqa", splits, score, quarantined=found.quarantined, measure="F1")


def _unmet(problems: Sequence[Problem], met: overlaps.Asked, what: str, split: str) -> list[Problem]:
    """Return the problems that were not met before; refuse, or leave out and say so, when some were."""
    shared = met.overlaps(problems)
    if shared and what == "refuse":
        raise DataError(
            f"hotpotqa: {len(shared)} of {len(problems)} test questions were trained on: {overlaps.told(shared)}. "
            "Test on others, or set task.overlap=drop to leave these out."
        )
    if shared:
        log.warning("hotpotqa: %d left out of %s, asked elsewhere: %s", len(shared), split, overlaps.told(shared))
    out = {found.problem for found in shared}
    return [p for p in problems if p.id not in out]


def _even(test: Sequence[Problem], train: list[Problem], count: int) -> list[Problem]:
    """Choose `count` questions of each level, from train where test has none of it; those leave `train`."""
    chosen: list[Problem] = []
    for name, level in LEVELS.items():
        here = [p for p in test if p.level == level] or [p for p in train if p.level == level]
        if len(here) < count:
            raise DataError(
                f"hotpotqa has {len(here)} {name} questions, and task.per_level={count} are asked for. Easy and medium "
                "ones are in the training file only: give path= a directory that holds it."
            )
        chosen += here[:count]
    taken = {p.id for p in chosen}
    train[:] = [p for p in train if p.id not in taken]
    return chosen


def problem(row: Mapping[str, Any], *, contexts: bool = False) -> Problem:
    """Convert an official row, one of the hub's, or a simplified one (question, answer, type).

    Raises:
        DataError: a field is missing, the level is unknown, or there are no paragraphs where they are asked for.
    """
    question, answer = reading.text_of(row, "question"), reading.text_of(row, "answer")
    level = row.get("level")
    if level is not None and level not in LEVELS:
        raise DataError(f"the level {level!r} is none of {', '.join(LEVELS)}")
    pages = paragraphs(row.get("context"))
    if contexts and not pages:
        raise DataError("it has no paragraphs ('context'); the simplified files have none: use hotpot_*_distractor")
    name = row.get("_id", row.get("id"))
    return Problem(
        str(name) if name else reading.content_id("hotpotqa", question),
        question,
        answer,
        level=LEVELS.get(str(level), 0),
        context=tuple(f"{title}\n{''.join(sentences).strip()}" for title, sentences in pages) if contexts else (),
        kind=str(row.get("type") or ""),
        support=_support(row, dict(pages), answer),
    )


def paragraphs(context: Any) -> list[tuple[str, list[str]]]:
    """Return (title, sentences) of each paragraph of a row's `context`, official or the hub's; [] where there is none.

    Raises:
        DataError: it has another shape.
    """
    if context is None:
        return []
    try:
        pairs = zip(context["title"], context["sentences"], strict=True) if isinstance(context, Mapping) else context
        return [(str(title), [str(sentence) for sentence in sentences]) for title, sentences in pairs]
    except (KeyError, TypeError, ValueError):
        raise DataError("'context' is no list of [title, [sentence, ...]]") from None


def _support(row: Mapping[str, Any], pages: Mapping[str, Sequence[str]], answer: str) -> tuple[str, ...]:
    """Return the supporting titles; of a bridge question's two, the one page that names the answer comes last."""
    facts = row.get("supporting_facts") or ()
    try:
        titles = facts["title"] if isinstance(facts, Mapping) else [title for title, _ in facts]
    except (KeyError, TypeError, ValueError):
        raise DataError("'supporting_facts' is no list of [title, sentence]") from None
    found = dict.fromkeys(map(str, titles))
    if row.get("type") != "bridge":
        return tuple(found)
    telling = [title for title in found if answer.casefold() in "".join(pages.get(title, ())).casefold()]
    return tuple(sorted(found, key=lambda title: len(telling) == 1 and title in telling))


def score(problem: Problem, reply: str) -> Score:
    """Judge the answer that a reply states last by its F1."""
    return f1.score(f1.stated(reply), problem.answer)
