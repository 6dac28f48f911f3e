"""Have right and wrong solutions written. Law: what is settled is settled once, and nothing is paid for twice.

FILE                        items that were kept, one a line (`data.read_items`)
FILE.arguing/ledger.jsonl       every settled problem with the outcome of every reply, append-only
FILE.arguing/summary.json       the counts
FILE.arguing/replies.sqlite     what servers replied, where there are any
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thinktwice.config import parse, to_dict
from thinktwice.engines.http import Failure, Reply, Request, Result
from thinktwice.engines.writers import Author
from thinktwice.errors import ConfigError, DataError, EngineError
from thinktwice.methods.transplant import writing
from thinktwice.methods.transplant.data import Candidate, Item, write_items
from thinktwice.methods.transplant.ledger import Arguing, Outcome, Settled, Written, count
from thinktwice.methods.transplant.writing import Role, Unusable
from thinktwice.run import files, lock
from thinktwice.run.rows import Rows
from thinktwice.types import Problem, Score

FREE_FAILURES = 20
"""So many problems may be lost to the server before the share counts."""
Judge = Callable[[Problem, str], Score]
"""A task's `score`."""
__all__ = ["Arguer", "Arguing", "Written", "directory"]


@dataclass
class _Work:
    """A problem in work."""

    problem: Problem
    key: str
    candidates: list[Candidate] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    shown: tuple[Candidate, ...] = ()
    argument: str = ""
    argued_for: int | None = None
    dropped: str = ""
    open: str = ""
    done: bool = False

    def asked(self, role: Role) -> int:
        return sum(outcome.role == role for outcome in self.outcomes)

    def has(self, right: bool) -> bool:
        return any(candidate.right == right for candidate in self.candidates)


@dataclass(frozen=True)
class Arguer:
    """A writer of candidates, and the task's judge of them.

    Example:
        >>> Arguer(Author(client, "gpt-4o"), task.score).write(problems, Path("solutions.jsonl"))  # doctest: +SKIP
    """

    author: Author
    judge: Judge
    arguing: Arguing = field(default_factory=Arguing)
    source: str = ""
    """The task, for the items."""

    def __post_init__(self) -> None:
        """Refuse samples that would all be one."""
        if self.arguing.mode == "sample" and self.author.sampling.temperature == 0:
            raise ConfigError(
                "mode=sample at temperature 0 draws one solution again and again; set sampling.temperature."
            )

    def write(
        self, problems: Sequence[Problem], out: Path, *, listener: Callable[[Written], None] | None = None
    ) -> Written:
        """Write candidates for problems, and the items that were kept to `out`, in the order of the problems.

        Problems that the ledger has settled under the same settings are not asked about again.

        Raises:
            DataError: a problem stands twice.
            EngineError: more than `max_failures` of the problems were lost, or the server cannot be used.
            RunError: another process works on `out`, or it cannot be written.
        """
        place = directory(out)
        with files.writing(place):
            place.mkdir(parents=True, exist_ok=True)
        works = self._works(problems)
        held = lock.acquire(place)
        try:
            rows = Rows(place / "ledger.jsonl", "key", writable=True)
            opened: list[str] = []
            waiting = [work for work in works if work.key not in rows.done]
            for start in range(0, len(waiting), self.arguing.batch_size):
                batch = waiting[start : start + self.arguing.batch_size]
                self._work(batch)
                rows.append([to_dict(self._settled(work)) for work in batch if not work.open])
                opened += [work.open for work in batch if work.open]
                found = count(_done(works, rows), opened)
                if listener is not None:
                    listener(found)
                self._check(found)
            settled = _done(works, rows)
            found = count(settled, opened)
            write_items(out, [row.item for row in settled if row.item is not None])
            files.write_json(place / "summary.json", {**to_dict(found), "settings": self.settings})
        finally:
            held.close()
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the candidates of a problem; part of its key in the ledger."""
        arguing = to_dict(self.arguing)
        return {
            **{name: value for name, value in arguing.items() if name not in ("max_failures", "batch_size")},
            "words": writing.words_digest(),
            "writer": {
                "model": self.author.model,
                "sampling": to_dict(self.author.sampling),
                "settings": dict(self.author.settings),
            },
        }

    def _works(self, problems: Sequence[Problem]) -> list[_Work]:
        settings = files.digest(self.settings)
        works = [_Work(p, files.digest({"settings": settings, "problem": to_dict(p)})[:32]) for p in problems]
        twice = [key for key, count in Counter(work.key for work in works).items() if count > 1]
        if twice:
            named = next(work.problem.id for work in works if work.key == twice[0])
            raise DataError(f"problem {named} stands twice among those to argue about; give each once.")
        return works

    # -- asking --------------------------------------------------------------------------------------------------------

    def _work(self, works: Sequence[_Work]) -> None:
        """Ask until every problem is settled or open."""
        while asked := [(work, role, sample) for work in works for role, sample in self._wanted(work)]:
            requests = [self._request(*one) for one in asked]
            writer: Any = self.author.writer
            results = (writer.complete if self.arguing.base else writer.chat)(requests)
            for (work, role, sample), result in zip(asked, results, strict=True):
                self._take(work, role, sample, result)

    def _wanted(self, work: _Work) -> list[tuple[Role, int]]:
        """Return what to ask about a problem next, and settle it where there is nothing more to ask."""
        if work.done or work.open:
            return []
        wanted = self._sampled(work) if self.arguing.mode == "sample" else self._roles(work)
        if wanted or work.dropped:
            work.done = bool(work.dropped)
            return wanted
        wanted = self._choose(work)
        work.done = not wanted
        return wanted

    def _sampled(self, work: _Work) -> list[tuple[Role, int]]:
        missing, asked = self.arguing.samples - len(work.candidates), work.asked("argument_first")
        left = self.arguing.samples * self.arguing.attempts - asked
        if missing > 0 and left > 0:
            return [("argument_first", asked + index) for index in range(min(missing, left))]
        both = work.has(True) and work.has(False)
        if not work.candidates:
            work.dropped = "no reply could be read"
        elif not both and not self.arguing.unanimous:
            work.dropped = "all right" if work.has(True) else "all wrong"
        return []

    def _roles(self, work: _Work) -> list[tuple[Role, int]]:
        steps: tuple[tuple[Role, bool], ...] = (("argument_first", True), ("answer_first", False))
        for role, right in steps:
            if any(outcome.role == role and outcome.outcome == _said(right) for outcome in work.outcomes):
                continue
            if work.asked(role) < self._attempts:
                return [(role, work.asked(role))]
            last = [outcome.outcome for outcome in work.outcomes if outcome.role == role][-1]
            work.dropped = f"{role.replace('_', ' ')}: {last}"
            return []
        return []

    def _choose(self, work: _Work) -> list[tuple[Role, int]]:
        if not self.arguing.choice or work.argued_for is not None:
            return []
        if not work.shown:
            both = [next(c for c in work.candidates if c.right), next(c for c in work.candidates if not c.right)]
            swapped = int(files.digest(["order", work.problem.id])[:2], 16) % 2
            work.shown = tuple(reversed(both)) if swapped else tuple(both)
        if work.asked("choice") < self._attempts:
            return [("choice", work.asked("choice"))]
        work.dropped = f"choice: {work.outcomes[-1].outcome}"
        return []

    @property
    def _attempts(self) -> int:
        """Asking a greedy writer again brings the same reply."""
        return self.arguing.attempts if self.author.sampling.temperature > 0 else 1

    def _request(self, work: _Work, role: Role, sample: int) -> Request:
        if self.arguing.ask == "question" and role != "choice":
            return self.author.ask(work.problem.prompt, sample)
        words = writing.ask_base if self.arguing.base else writing.ask
        return self.author.ask(words(role, work.problem.prompt, work.shown), sample)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _take(self, work: _Work, role: Role, sample: int, result: Result) -> None:
        """Enter one reply."""
        if isinstance(result, Failure):
            if result.kind == "bad reply":
                work.outcomes.append(Outcome(role, sample, "no reply"))
            else:
                work.open = f"{result.kind}: {result.reason}"  # no verdict on the problem: it is asked again
            return
        try:
            outcome = self._choice(work, result) if role == "choice" else self._candidate(work, role, result)
        except Unusable as unusable:
            outcome = unusable.reason
        work.outcomes.append(Outcome(role, sample, outcome))

    def _candidate(self, work: _Work, role: Role, reply: Reply) -> str:
        generator = self.author.model
        if self.arguing.ask == "question":
            if not reply.text.strip():
                raise Unusable("an empty reply")
            score = self.judge(work.problem, reply.text)
            made = Candidate(reply.text, score.answer or "", score.value == 1.0, generator, reply.token_ids)
        else:
            fields = writing.read(role, reply, writing.opening(role) if self.arguing.base else "")
            score = self.judge(work.problem, f"The answer is: {fields['answer']}")
            if score.answer is None:
                raise Unusable("the answer is none the task knows")
            if self.arguing.mode == "roles":
                generator += f", {role.replace('_', ' ')}"
            made = Candidate(fields["argument"], score.answer, score.value == 1.0, generator)
            if self.arguing.state_answer:
                made = replace(made, text=writing.stating(made))
        if self.arguing.mode == "sample" or made.right == (role == "argument_first"):
            work.candidates.append(made)
        return _said(made.right)

    def _choice(self, work: _Work, reply: Reply) -> str:
        fields = writing.read("choice", reply, writing.opening("choice") if self.arguing.base else "")
        work.argument, work.argued_for = fields["argument"], int(fields["answer_choice"]) - 1
        return f"chose the {_said(work.shown[work.argued_for].right)} one"

    def _settled(self, work: _Work) -> Settled:
        item = None
        if not work.dropped:
            candidates = work.shown or tuple(_balanced(work.candidates) if self.arguing.balanced else work.candidates)
            if (
                self.arguing.mode == "roles"
                and not work.shown
                and int(files.digest(["order", work.problem.id])[:2], 16) % 2
            ):
                candidates = tuple(reversed(candidates))
            problem = work.problem
            item = Item(
                problem.id, problem.prompt, problem.answer, candidates, work.argument, work.argued_for, self.source
            )
        return Settled(work.key, item, work.dropped, tuple(work.outcomes))

    def _check(self, found: Written) -> None:
        lost = sum(found.open.values())
        if lost <= max(FREE_FAILURES, self.arguing.max_failures * found.problems):
            return
        reason, times = max(found.open.items(), key=lambda pair: pair[1])
        raise EngineError(
            f"{lost} of {found.problems} questions were lost, more than max_failures={self.arguing.max_failures:g} "
            f"allows; most often ({times} times): {reason.rstrip('.')}. What was settled is kept."
        )


def directory(out: Path) -> Path:
    """Return where the ledger of a file of items lies."""
    return out.with_name(f"{out.name}.arguing")


def _said(right: bool) -> str:
    return "right" if right else "wrong"


def _balanced(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return as many right as wrong ones, the first of each, in the order they were drawn."""
    right, wrong = ([c for c in candidates if c.right == value] for value in (True, False))
    kept = [*right[: len(wrong)], *wrong[: len(right)]] or list(candidates)
    return [c for c in candidates if any(c is one for one in kept)]


def _done(works: Sequence[_Work], rows: Rows) -> list[Settled]:
    return [parse(Settled, rows.done[work.key]) for work in works if work.key in rows.done]
