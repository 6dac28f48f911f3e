"""The agent at work: plan, facts, filter, ledger. Law: what is settled is settled once, and nothing is paid for twice.

FILE                        the rows that were kept: {question, answer, cot_steps, provenance}
FILE.labelling/ledger.jsonl     every settled problem with all its attempts, append-only
FILE.labelling/summary.json     the counts
FILE.labelling/replies.sqlite   what servers replied (`engines.http`), where there are any
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thinktwice.config import parse, to_dict
from thinktwice.engines.http import Failure, Result
from thinktwice.errors import ConfigError, DataError, EngineError
from thinktwice.methods.planning.agent import prompts, replies
from thinktwice.methods.planning.agent.ledger import DROPPED, KEPT, WRONG, Attempt, Entry, Summary, summarise
from thinktwice.methods.planning.agent.prompts import AnswerMode, Order
from thinktwice.methods.planning.agent.second import compare, second_opinion
from thinktwice.methods.planning.agent.writers import Author
from thinktwice.run import files, lock
from thinktwice.run.rows import Rows
from thinktwice.types import Problem, Score

log = logging.getLogger(__name__)

FREE_FAILURES = 20
"""So many problems may be lost before the share counts."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """How problems are labelled."""

    order: Order = "interleaved"
    """memory_first: all facts come before the first reason step."""
    answer: AnswerMode = "shown"
    """hidden: the planner has to find the answer, and only plans that do are kept (rejection sampling)."""
    samples: int = 1
    """Plans that follow the rules, drawn for a problem at most until one has the right answer; hidden only."""
    attempts: int = 5
    """Unusable replies to a problem, of either role, after which it is dropped with the reason of the last."""
    max_failures: float = 0.2
    """Share of problems that may be lost to unusable replies or a failing server before the run stops; wrong answers do
    not count."""
    batch_size: int = 256
    """Problems that are worked on together; each batch is written to the ledger when it is settled."""

    def __post_init__(self) -> None:
        for name in ("samples", "attempts", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more; got {getattr(self, name)}.")
        if not 0 <= self.max_failures <= 1:
            raise ConfigError(f"max_failures is a share from 0 to 1; got {self.max_failures}.")
        if self.samples > 1 and self.answer == "shown":
            raise ConfigError(
                f"samples={self.samples} draws plans until one is right, but answer=shown tells the answer; set "
                "answer=hidden, or leave samples at 1."
            )


Judge = Callable[[Problem, str], Score]
"""A task's `score`: judges the answer that a plan states."""


@dataclass
class _Item:
    """A problem in work."""

    problem: Problem
    key: str
    plan: replies.Plan | None = None
    attempts: list[Attempt] = field(default_factory=list)
    steps: tuple[replies.Labelled, ...] = ()
    dropped: str = ""
    open: str = ""

    @property
    def pending(self) -> bool:
        return not (self.steps or self.dropped or self.open)

    def times(self, role: str) -> int:
        return sum(attempt.role == role for attempt in self.attempts)


@dataclass(frozen=True)
class Agent:
    """A planner and a knowledge model that write steps of two kinds.

    Example:
        >>> rules = Author(RuleWriter(problems), "rules")  # doctest: +SKIP
        >>> Agent(rules, rules, task.score).label(problems, Path("steps.json"))  # doctest: +SKIP
    """

    planner: Author
    knowledge: Author
    judge: Judge
    labelling: Labelling = field(default_factory=Labelling)
    second: Author | None = None
    """Labels the kept steps once more, without seeing their labels; how far it agrees is stored with the data."""

    def label(
        self, problems: Sequence[Problem], out: Path, *, listener: Callable[[Summary], None] | None = None
    ) -> Summary:
        """Label problems and write the rows that were kept to `out` (.jsonl: a row a line; else one JSON array).

        Problems that the ledger has settled under the same settings are not asked about again.

        Raises:
            DataError: a problem stands twice.
            EngineError: more than `max_failures` of the problems were lost, or the server cannot be used.
            RunError: another process works on `out`, or it cannot be written.
        """
        place = directory(out)
        with files.writing(place):
            place.mkdir(parents=True, exist_ok=True)
        items = self._items(problems)
        held = lock.acquire(place)
        try:
            rows = Rows(place / "ledger.jsonl", "key", writable=True)
            opened: list[str] = []
            waiting = [item for item in items if item.key not in rows.done]
            for start in range(0, len(waiting), self.labelling.batch_size):
                batch = waiting[start : start + self.labelling.batch_size]
                self._work(batch)
                rows.append([to_dict(_entry(item)) for item in batch if not item.open])
                opened += [item.open for item in batch if item.open]
                found = summarise(self._settled(items, rows), opened)
                if listener is not None:
                    listener(found)
                self._check(found)
            entries = self._settled(items, rows)
            found = summarise(entries, opened)
            self._check(found)
            opinions: dict[str, tuple[str, ...]] = {}
            if self.second is not None:
                opinions = second_opinion(self.second, entries, self.labelling.attempts)
                agreed = compare(entries, opinions)
                found = replace(
                    found, agreement=agreed, second=self.second.model, unlabelled=found.kept - len(opinions)
                )
            written = [self._row(entry, opinions.get(entry.key)) for entry in entries if entry.state == KEPT]
            files.write_text(out, _spelled(written, lines=out.suffix == ".jsonl"))
            files.write_json(place / "summary.json", {**to_dict(found), "settings": self.settings})
        finally:
            held.close()
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the labels of a problem; part of its key in the ledger."""
        labelling = to_dict(self.labelling)
        roles = {"planner": self.planner, "knowledge": self.knowledge}
        return {
            **{name: labelling[name] for name in ("order", "answer", "samples", "attempts")},
            "prompts": prompts.prompts_digest(),
            **{
                role: {"model": who.model, "sampling": to_dict(who.sampling), "settings": dict(who.settings)}
                for role, who in roles.items()
            },
        }

    def _items(self, problems: Sequence[Problem]) -> list[_Item]:
        settings = files.digest(self.settings)
        items = [_Item(p, files.digest({"settings": settings, "problem": to_dict(p)})[:32]) for p in problems]
        twice = [key for key, count in Counter(item.key for item in items).items() if count > 1]
        if twice:
            named = next(item.problem.id for item in items if item.key == twice[0])
            raise DataError(f"problem {named} stands twice among those to label; give each once.")
        return items

    def _settled(self, items: Sequence[_Item], rows: Rows) -> list[Entry]:
        return [parse(Entry, rows.done[item.key]) for item in items if item.key in rows.done]

    # -- one batch -----------------------------------------------------------------------------------------------------

    def _work(self, items: Sequence[_Item]) -> None:
        """Ask until every problem is settled or open; a good plan is kept while its facts are asked for again."""
        order, answer = self.labelling.order, self.labelling.answer
        while pending := [item for item in items if item.pending]:
            planless = [item for item in pending if item.plan is None]
            asked = [
                self.planner.ask(prompts.ask_plan(item.problem, order, answer), item.times("planner"))
                for item in planless
            ]
            for item, result in zip(planless, self.planner.writer.chat(asked), strict=True):
                self._read(item, "planner", result, self._take_plan)
            planned = [item for item in pending if item.plan is not None and item.pending]
            asked = [
                self.knowledge.ask(prompts.ask_facts(item.plan.queries), item.times("knowledge"))
                for item in planned
                if item.plan is not None
            ]
            for item, result in zip(planned, self.knowledge.writer.chat(asked), strict=True):
                self._read(item, "knowledge", result, _take_facts)

    def _read(self, item: _Item, role: str, result: Result, take: Callable[[_Item, Any], None]) -> None:
        """Enter one reply: one attempt, one outcome, and the end of the problem where a limit is reached."""
        reason, detail = KEPT, ""
        if isinstance(result, Failure):
            reason, detail = "no reply", f"{result.kind}: {result.reason}"
        else:
            try:
                take(item, result)
            except replies.Unusable as unusable:
                reason, detail = unusable.reason, unusable.detail
        item.attempts.append(Attempt(role, reason, detail))
        if reason == replies.UNKNOWN:
            item.plan = None  # asked again it will not know it either: another plan asks something else
        if sum(attempt.outcome == WRONG for attempt in item.attempts) >= self.labelling.samples:
            item.dropped = WRONG
        elif isinstance(result, Failure) and result.kind != "bad reply":
            item.open = detail  # nothing will come of it now; and that is no verdict on the problem
        elif self._unused(item) >= self.labelling.attempts:
            failed = next((a.detail for a in item.attempts if a.outcome == "no reply"), "")
            item.open, item.dropped = (failed, "") if failed else ("", reason)

    def _unused(self, item: _Item) -> int:
        return sum(attempt.outcome not in (KEPT, WRONG) for attempt in item.attempts)

    def _take_plan(self, item: _Item, reply: Any) -> None:
        plan = replies.read_plan(reply, self.labelling.order)
        score = self.judge(item.problem, f"The answer is: {plan.answer}")
        if score.value != 1.0:
            if self.labelling.answer == "shown":
                raise replies.Unusable("another answer than the one shown", plan.answer[:80])
            raise replies.Unusable(WRONG, plan.answer[:80])
        item.plan = plan

    # -- the whole -----------------------------------------------------------------------------------------------------

    def _check(self, found: Summary) -> None:
        lost = Counter({reason: n for reason, n in found.dropped.items() if reason != WRONG}) + Counter(found.open)
        if lost.total() <= max(FREE_FAILURES, self.labelling.max_failures * found.problems):
            return
        ((reason, times),) = lost.most_common(1)
        raise EngineError(
            f"{lost.total()} of {found.problems} problems were lost, more than "
            f"max_failures={self.labelling.max_failures:g} allows; most often ({times} times): "
            f"{reason.rstrip('.')}. What was settled is kept. Try another model or prompt, or set max_failures higher."
        )

    def _row(self, entry: Entry, opinion: Sequence[str] | None) -> dict[str, Any]:
        provenance = {
            "id": entry.id,
            "planner": self.planner.model,
            "knowledge": self.knowledge.model,
            "prompts": prompts.prompts_digest(),
            "settings": files.digest(self.settings)[:16],
            "order": self.labelling.order,
            "answer": self.labelling.answer,
            "attempts": len(entry.attempts),
            "date": entry.date,
        }
        if opinion is not None and self.second is not None:
            provenance |= {"second": self.second.model, "second_labels": list(opinion)}
        steps = list(entry.cot_steps)
        return {"question": entry.question, "answer": entry.answer, "cot_steps": steps, "provenance": provenance}


def directory(out: Path) -> Path:
    """Return where the ledger of a file of labels lies."""
    return out.with_name(f"{out.name}.labelling")


def _take_facts(item: _Item, reply: Any) -> None:
    assert item.plan is not None
    steps = replies.assemble(item.plan, replies.read_facts(reply, item.plan.queries))
    item.steps = steps


def _entry(item: _Item) -> Entry:
    problem, steps = item.problem, tuple(str(step) for step in item.steps)
    return Entry(
        key=item.key,
        id=problem.id,
        question=problem.prompt,
        answer=problem.answer,
        state=KEPT if steps else DROPPED,
        reason=item.dropped,
        attempts=tuple(item.attempts),
        cot_steps=steps,
        date=datetime.now(UTC).date().isoformat(),
    )


def _spelled(rows: Sequence[Mapping[str, Any]], *, lines: bool) -> str:
    spelled = [json.dumps(row, ensure_ascii=False) for row in rows]
    if lines:
        return "".join(f"{line}\n" for line in spelled)
    return "[" + ",".join(f"\n{line}" for line in spelled) + "\n]\n"
