"""The command that puts runs over the same questions together: repeated. Law: a question is drawn with all its answers.

Everything heavy is imported inside the functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, DataError, RunError, nearest
from thinktwice.types import Score

if TYPE_CHECKING:
    from thinktwice.config import Recipe
    from thinktwice.records import Finding
    from thinktwice.run import Run


@dataclass(frozen=True)
class Answer:
    """What a trace record says of a score; its tokens, most of the work of reading it, are left alone."""

    key: str
    level: int
    question: str
    reference: str
    score: Score


Answers = dict[str, Answer]
"""What one arm of one run answered, by key."""


def repeated(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Runs of one recipe that differ in seed only.", show_default=False),
    ],
    arm: Annotated[
        str | None, typer.Option(help="Only this arm, and the one it is compared with.", show_default="all arms")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The arm it is compared with.", show_default="the headline's control")
    ] = None,
) -> None:
    """Put runs of one recipe with other seeds together: means, spread between runs, intervals, and the difference.

    The intervals come from a bootstrap that draws a question with all its answers:
    running again lessens the noise of seeds, never that of the questions. Of ReAct agents
    that are compared, EM, F1, repeated searches and answers that were seen are shown too.
    """
    from thinktwice.config import Recipe, parse
    from thinktwice.run import Run

    loaded = [Run.load(root) for root in runs]
    recipes = [parse(Recipe, run.config, str(run.root / "config.json")) for run in loaded]
    _check_recipes(loaded, recipes)
    recipe = recipes[0]
    a, b = _compared(recipe, arm, against)
    names = list(recipe.arms) if arm is None else [arm, *([b] if b else [])]
    answers = {name: [_answers(run, name) for run in loaded] for name in names}
    for name in names:  # every arm of every run against the same one: arms are paired too
        for run, found in zip(loaded, answers[name], strict=True):
            _check_questions(answers[names[0]][0], found, f"{names[0]} in {loaded[0].root}", f"{name} in {run.root}")
    tables = [_means(answers, _measure(loaded[0]))]
    if a and b:
        tables.append(_differences(a, b, answers[a], answers[b]))
    tables += [found for name in (a, b) if name for found in _episodes(loaded, recipe, name)]
    _print(tables)


def _check_recipes(runs: "Sequence[Run]", recipes: "Sequence[Recipe]") -> None:
    """Refuse what are not repetitions: one run, other recipes, a seed that is there twice."""
    from dataclasses import replace

    from thinktwice.config import to_dict
    from thinktwice.run.identity import differences

    if len(runs) < 2:
        raise ConfigError("name at least two runs of one recipe that differ in seed; `thinktwice report` shows one.")
    first, plain = runs[0].root, [to_dict(replace(recipe, name="any", seed=0)) for recipe in recipes]
    seeds: dict[int, Path] = {}
    for run, recipe, config in zip(runs, recipes, plain, strict=True):
        if differ := differences(plain[0], config):
            raise ConfigError(
                f"{first} and {run.root} must differ in seed only, and differ in {'; '.join(differ[:3])}. "
                "`thinktwice report` compares other recipes."
            )
        if recipe.seed in seeds:
            raise ConfigError(
                f"{seeds[recipe.seed]} and {run.root} have the same seed {recipe.seed}; name one of them."
            )
        seeds[recipe.seed] = run.root


def _compared(recipe: "Recipe", arm: str | None, against: str | None) -> tuple[str | None, str | None]:
    """Return the two arms whose difference is shown: the headline's where they are not named."""
    for name in (arm, against):
        if name is not None and name not in recipe.arms:
            raise ConfigError(f"this recipe has no arm {name!r}.{nearest(name, recipe.arms)}")
    head = recipe.headline
    a = arm or (head.a if head else None)
    b = against or (head.b if head and head.b != a else None)
    if against is not None and a is None:
        raise ConfigError(f"say which arm is compared with {against!r}: --arm NAME; this recipe has no headline.")
    if a is not None and a == b:
        raise ConfigError(f"arm {a!r} can't be compared with itself; name another one with --against.")
    return a, b


def _answers(run: "Run", arm: str) -> Answers:
    from thinktwice.config import parse

    if run.artefact(f"solve-{arm}", "method.json") is None:
        raise RunError(f"arm {arm!r} has not answered yet; thinktwice run {run.root}/config.json goes on with the run")
    names, where = [field.name for field in fields(Answer)], f"{run.root}/traces/{arm}.jsonl"
    rows = run.traces(arm).done.items()
    return {key: parse(Answer, {name: row[name] for name in names if name in row}, where) for key, row in rows}


def _check_questions(one: Answers, other: Answers, name: str, other_name: str) -> None:
    def asked(answers: Answers) -> set[tuple[str, int, str, str]]:
        return {(key, found.level, found.question, found.reference) for key, found in answers.items()}

    if differ := len(asked(one) ^ asked(other)):
        raise DataError(
            f"{name} and {other_name} did not answer the same questions ({differ} are in one only); "
            "set the task's own seed, so that it is the same in every run."
        )


def _scores(answers: Sequence[Answers], keys: Sequence[str]) -> list[list[float]]:
    return [[run[key].score.value for key in keys] for run in answers]


def _by_level(answers: Answers) -> dict[int, list[str]]:
    """Return the keys of every level, in one order for all runs and arms."""
    levels = sorted({found.level for found in answers.values()})
    return {level: sorted(key for key, found in answers.items() if found.level == level) for level in levels}


def _measure(run: "Run") -> str:
    """Return what the mean score is called."""
    summary = run.summary()
    return "score" if summary is None else str(summary.get("measure", "accuracy"))


def _means(answers: dict[str, list[Answers]], measure: str) -> "Finding":
    from thinktwice.records import Finding
    from thinktwice.report.claims import interval
    from thinktwice.scoring.stats import repeated_mean

    rows = []
    for arm, runs in answers.items():
        for level, keys in _by_level(runs[0]).items():
            found = repeated_mean(_scores(runs, keys))
            rows.append(
                (arm, f"{level}", f"{found.runs}", f"{found.problems:,}", f"{100 * found.value:.1f}",
                 interval(found.ci, sign=False), f"{100 * found.between_runs:.1f}")
            )  # fmt: skip
    return Finding(
        f"Mean {measure} × 100",
        ("arm", "level", "runs", "questions", "mean", "95 % interval", "SD between runs"),
        tuple(rows),
        "Intervals by bootstrap, a question drawn with all its answers: what other questions would have given. "
        "What another seed would have given shows in the SD.",
    )


def _differences(a: str, b: str, first: list[Answers], second: list[Answers]) -> "Finding":
    from thinktwice.records import Finding
    from thinktwice.report.claims import interval, points
    from thinktwice.scoring.stats import repeated_difference, repeated_mean

    rows = []
    for level, keys in _by_level(first[0]).items():
        one, other = _scores(first, keys), _scores(second, keys)
        found = repeated_difference(one, other)
        runs = [[x - y for x, y in zip(*pair, strict=True)] for pair in zip(one, other, strict=True)]
        each = " ".join(points(sum(run) / len(run)) for run in runs)
        spread = f"{100 * repeated_mean(runs).between_runs:.1f}"
        rows.append((f"{level}", f"{found.problems:,}", points(found.value), interval(found.ci), each, spread))
    return Finding(
        f"{a} − {b}, points",
        ("level", "questions", "difference", "95 % interval", "each run", "SD between runs"),
        tuple(rows),
        "Paired by question and by seed; intervals as above.",
    )


def _episodes(runs: "Sequence[Run]", recipe: "Recipe", arm: str) -> "list[Finding]":
    """Return what an agent's episodes say, over all levels; nothing of other methods."""
    from dataclasses import replace

    from thinktwice.answer import method_of
    from thinktwice.methods.react import React

    method = method_of(runs[0], recipe, arm)
    if not isinstance(method, React):
        return []
    from thinktwice.config import parse
    from thinktwice.methods.react.metrics import judge, repeated
    from thinktwice.methods.react.written import read_episode
    from thinktwice.records import TraceRecord
    from thinktwice.render import Render
    from thinktwice.train.vocab import load_tokenizer
    from thinktwice.types import Problem

    tokenizer: Any = load_tokenizer(runs[0].root / "stages" / "base")
    grammar = method.written_in(Render(tokenizer, recipe.model.template))
    judged = []
    for run in runs:
        read = [parse(TraceRecord, row, f"traces/{arm}.jsonl") for row in run.traces(arm).done.values()]
        asked = [Problem(r.key, r.question, r.reference, level=r.level, support=r.support) for r in read]
        judged.append([judge(q, read_episode(r.trace, grammar)) for q, r in zip(asked, read, strict=True)])
    table = repeated(judged)
    return [replace(table, title=f"{arm}, {table.title}, all levels")]


def _print(tables: "Sequence[Finding]") -> None:
    from rich.console import Console
    from rich.markup import escape

    from thinktwice.cli.tables import plain_table

    console = Console(highlight=False)
    for number, finding in enumerate(tables):
        console.print(f"{chr(10) if number else ''}[bold]{escape(finding.title)}[/]")
        table = plain_table(*map(escape, finding.columns))
        for row in finding.rows:
            table.add_row(*map(escape, row))
        console.print(table)
        if finding.note:
            console.print(escape(finding.note), style="dim")
