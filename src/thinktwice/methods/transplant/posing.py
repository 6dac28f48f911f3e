"""A task's problems -> problems of telling its right solutions from wrong ones. Law: every arm answers the same ones.

Several solutions of a question are sampled from the base, from one prompt, above temperature 0: right and wrong ones
have one author and one wording. Or they come from a file that somebody wrote.
"""

import hashlib
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from thinktwice.config import to_dict
from thinktwice.engines.base import Engine
from thinktwice.engines.writers import Author, LocalWriter
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.transplant import posed
from thinktwice.methods.transplant.argue import Arguer
from thinktwice.methods.transplant.data import Item, Likeness, Pairing, pairs, read_items, write_items
from thinktwice.methods.transplant.even import even, even_lengths
from thinktwice.methods.transplant.ledger import Arguing
from thinktwice.methods.transplant.seed_data import Source, read_source
from thinktwice.render import Render
from thinktwice.run import files
from thinktwice.types import Problem, Sampling, Task

log = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
AUDIT = "audit.json"


@dataclass(frozen=True)
class Posing:
    """Where candidates come from, and how they are paired."""

    file: str | None = None
    """A file of candidates (`thinktwice argue`, the seed's dataset.csv, GSM8K's model solutions); None: the base
    samples them."""
    shares: tuple[float, float] = (0.1, 0.1)
    """Of a file: the share of the questions that are dev, and test. Where its authors fixed a test set, that is test.
    A question's split follows from its text."""
    samples: int = 4
    """Solutions sampled for each train and dev question."""
    temperature: float = 1.0
    max_new_tokens: int = 256
    """Of a sampled solution."""
    by_generator: Pairing = "any"
    """Which candidates meet: any; within: of one generator; balanced: besides, as many pairs each way (see `pairs`)."""
    alike: Likeness = "any"
    """steps: the two have as many lines; length: as many lines and tokens."""
    even: bool = False
    """Leave out pairs until n-grams, and the longer text, are right as often as wrong: see `even`."""
    most: int = 2
    """Pairs of one training question at most; dev and test have one a question, so that pairs are independent."""
    group: int = 0
    """Also ask for the best of so many samples of each test question, all right and all wrong ones included; 0: no."""
    limit: tuple[int, int, int] | None = None
    """Train, dev and test questions that candidates are sampled for, the first of each split; None: all."""

    def __post_init__(self) -> None:
        """Refuse what makes no problems."""
        if self.group and self.group <= posed.PAIR:
            raise ConfigError(f"posing.group={self.group}: a group has 3 candidates or more; 0 asks for none.")
        if self.samples < 2 or self.most < 1:
            raise ConfigError("posing.samples must be 2 or more (one right, one wrong), posing.most 1 or more.")
        if self.temperature <= 0:
            raise ConfigError("posing.temperature must be above 0: greedy samples are all the same.")
        if self.file is not None and self.group:
            raise ConfigError("posing.group is for sampled solutions; of a file nobody knows how they were drawn.")
        if not all(0 < share < 1 for share in self.shares) or sum(self.shares) >= 1:
            raise ConfigError(f"posing.shares={list(self.shares)} leaves nothing to train on; they are dev and test.")


def pose(
    posing: Posing, task: Task, engine: Engine, render: Render, seed: int, directory: Path, work: Path
) -> dict[str, list[Problem]]:
    """Return problems by split, and leave in `directory` what they were made of.

    Args:
        posing: see there.
        task: whose questions are sampled for; of a file, only its score is used.
        engine: the base.
        render: of the base.
        seed: of sampling and pairing.
        directory: gets items-SPLIT.jsonl, audit.json and counts.json.
        work: keeps what is sampled, so that a killed sampling goes on.

    Raises:
        DataError: a split has no question with a right and a wrong candidate.
    """
    found = _read(posing) if posing.file is not None else _sample(posing, task, engine, render, seed, work)
    problems: dict[str, list[Problem]] = {}
    counts: dict[str, Any] = {}
    paired = _paired(posing, found, seed)
    for split in SPLITS:
        items = found[split]
        if not paired[split]:
            raise DataError(
                f"no {split} question has a right and a wrong candidate under this pairing; ask harder or easier "
                "questions, or more of them (task), or sample more (method.posing.samples)."
            )
        groups = _groups(posing, items, split)
        problems[split] = [posed.to_problem(item) for item in (*paired[split], *groups)]
        write_items(directory / f"items-{split}.jsonl", items)
        right = Counter(sum(c.right for c in item.candidates) / len(item.candidates) for item in items)
        counts[split] = {
            "questions": len(items),
            "pairs": len(paired[split]),
            "groups": len(groups),
            "candidates": sum(len(item.candidates) for item in items),
            "right": sum(c.right for item in items for c in item.candidates),
            "all right": right[1.0],
            "all wrong": right[0.0],
        }
        log.info("pose: %s %s", split, counts[split])
    files.write_json(directory / "counts.json", counts)
    files.write_json(directory / AUDIT, _audit(paired))
    return problems


def _paired(posing: Posing, found: Mapping[str, Sequence[Item]], seed: int) -> dict[str, list[Item]]:
    """Return the pairs of each split: evened out first, and of what is left a few a question."""
    rules: dict[str, Any] = {"by_generator": posing.by_generator, "alike": posing.alike, "seed": seed}
    most = {split: posing.most if split == "train" else 1 for split in SPLITS}
    if not posing.even:
        return {split: pairs(found[split], **rules, most=most[split]) for split in SPLITS}
    kept = even({split: pairs(found[split], **rules) for split in SPLITS}, seed)
    return {split: even_lengths(_few(kept[split], most[split], seed), seed) for split in SPLITS}


def _few(paired: Sequence[Item], most: int, seed: int) -> list[Item]:
    """Return at most so many pairs of a question, chosen by chance."""
    by_question: dict[str, list[Item]] = defaultdict(list)
    for item in paired:
        by_question[item.group].append(item)
    kept = {
        item.id
        for name, own in by_question.items()
        for item in random.Random(f"{seed}:{name}").sample(own, min(most, len(own)))
    }
    return [item for item in paired if item.id in kept]


def _groups(posing: Posing, items: Sequence[Item], split: str) -> list[Item]:
    """Return the items that are asked about whole: of test for best-of-n, of train and dev for a listwise verifier."""
    if not posing.group:
        return []
    size = posing.group if split == "test" else min(posing.group, posing.samples)
    chosen = [item for item in items if len(item.candidates) >= size > posed.PAIR]
    return [replace(item, id=f"{item.id}/all", candidates=item.candidates[:size]) for item in chosen]


def _audit(paired: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """Measure what a verifier must beat on the test pairs: shortcuts are fitted on train and dev."""
    from thinktwice.methods.transplant.audit import audit  # scikit-learn takes a second to import

    known, test = [*paired["train"], *paired["dev"]], list(paired["test"])
    place = range(len(known), len(known) + len(test))
    found = audit(Source("posed pairs", [*known, *test], tuple(place)))
    return {**to_dict(found), "sentence": found.sentence}


def _sample(posing: Posing, task: Task, engine: Engine, render: Render, seed: int, work: Path) -> dict[str, list[Item]]:
    sampling = Sampling(posing.temperature, max_new_tokens=posing.max_new_tokens, seed=seed)
    author = Author(cast(Any, LocalWriter(engine, render)), engine.name, sampling)
    found = {}
    limits = posing.limit or (None, None, None)
    for split, limit in zip(SPLITS, limits, strict=True):
        samples = max(posing.samples, posing.group) if split == "test" else posing.samples
        arguing = Arguing(ask="question", samples=samples, unanimous=True, attempts=1, batch_size=128)
        out = work / f"{split}.jsonl"
        out.parent.mkdir(parents=True, exist_ok=True)
        asked = list(task.splits[split])[:limit]
        Arguer(author, task.score, arguing, task.name).write(asked, out, listener=lambda done: log.info("%s", done))
        found[split] = read_items(out)
    return found


def _read(posing: Posing) -> dict[str, list[Item]]:
    source = read_source(Path(str(posing.file)))
    fixed = {source.items[index].group for index in source.test}
    found: dict[str, list[Item]] = {split: [] for split in SPLITS}
    dev, test = posing.shares
    for item in source.items:
        place = int.from_bytes(hashlib.sha256(item.group.encode()).digest()[:6], "big") / 2**48
        if fixed:
            split = "test" if item.group in fixed else "dev" if place < dev else "train"
        else:
            split = "test" if place < test else "dev" if place < test + dev else "train"
        found[split].append(item)
    return found
