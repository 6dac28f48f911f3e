"""The twins of BoolQ, SQuAD and Natural Instructions: their files, what can be read off a passage, what gives away."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.render import PLAIN, Render
from thinktwice.tasks import check_disjoint, load_task, passages
from thinktwice.tasks.natural_instructions import read_task
from thinktwice.tasks.worlds import wiki
from thinktwice.tasks.worlds.wiki import twins
from thinktwice.tasks.worlds.wiki.hop_questions import HopQuestion
from thinktwice.tasks.worlds.wiki.passage_questions import people_of
from thinktwice.train import nano
from thinktwice.types import Problem, Task

pytest.importorskip("rouge_score")

WORLD = wiki.Encyclopedia()
SMALL = {"train": 60, "dev": 20, "test": 40}
TWINS = ("wiki_boolq", "wiki_squad", "wiki_instructions")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twins.write(tmp_path_factory.mktemp("twins"), **SMALL)


@pytest.fixture(scope="module")
def boolq() -> Task:
    return load_task("wiki_boolq", train=1500)


@pytest.fixture(scope="module")
def squad() -> Task:
    return load_task("wiki_squad", train=1500)


def stated(problem: Problem) -> dict[tuple[str, str], str]:
    """Return what the passage of a problem states: every line of it is a true fact."""
    facts = [wiki.Fact.read(line) for line in problem.context[0].splitlines()]
    assert all(fact is not None and WORLD.states(fact) for fact in facts)
    return {(fact.subject, fact.relation): fact.value for fact in facts if fact is not None}


# --- files


@pytest.mark.parametrize(
    ("twin", "options", "real", "folder"),
    [
        ("wiki_boolq", {}, ("boolq", {"dev": None}), "boolq"),
        ("wiki_squad", {"measure": "em"}, ("squad", {"dev": None, "measure": "em"}), "squad"),
        ("wiki_instructions", {}, ("natural_instructions", {}), "natural_instructions_v1"),
        ("wiki_instructions", {"version": 2}, ("natural_instructions", {}), "natural_instructions_v2"),
    ],
)
def test_the_real_loaders_make_the_same_problems_of_the_files(
    files: Path, twin: str, options: dict[str, Any], real: tuple[str, dict[str, Any]], folder: str
) -> None:
    made = load_task(twin, **SMALL, **options)
    read = load_task(real[0], path=str(files / folder), **real[1])
    assert read.splits == made.splits
    assert (read.quarantined, read.measure) == (0, made.measure)
    each = 4 if twin == "wiki_instructions" else 1
    assert {name: len(rows) for name, rows in read.splits.items()} == {n: each * c for n, c in SMALL.items()}
    for problem in made.splits["test"]:
        assert made.score(problem, problem.solution or "").value == 1
        assert read.score(problem, "").value == made.score(problem, "").value == 0


def test_squads_file_has_its_form(files: Path) -> None:
    document = json.loads((files / "squad/dev-v2.0.json").read_text())
    assert document["version"] == "v2.0"
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                assert qa["is_impossible"] == (not qa["answers"])
                for answer in qa["answers"]:
                    assert paragraph["context"][answer["answer_start"] :].startswith(answer["text"] + ".")


@pytest.mark.parametrize("twin", TWINS)
def test_splits_share_neither_problems_nor_people(twin: str) -> None:
    task = load_task(twin, **SMALL)
    check_disjoint(task)
    assert load_task(twin, **SMALL).splits == task.splits
    ids = {p.id for p in task.splits["test"]}
    assert not ids & {p.id for p in load_task(twin, **SMALL, encyclopedia=7).splits["test"]}
    assert ids != {p.id for p in load_task(twin, **SMALL, seed=1).splits["test"]}
    of = {split: set(people_of(WORLD, split)) for split in twins.SPLITS}
    assert sum(map(len, of.values())) == len(set.union(*of.values())) == len(WORLD.persons)
    about: dict[str, Callable[[str], str]] = {
        "wiki_boolq": lambda text: wiki.Question.read(text).left.start,
        "wiki_squad": lambda text: HopQuestion.read(text).left.start,
        "wiki_instructions": lambda text: " ".join(text.split(": ", 1)[1].split()[:2]),
    }
    for split, problems in task.splits.items():
        assert {about[twin](passages.question(problem)) for problem in problems} <= of[split]


@pytest.mark.parametrize("twin", TWINS)
def test_what_there_is_not_is_refused(twin: str) -> None:
    with pytest.raises(DataError, match="different"):
        load_task(twin, **SMALL, people=12)
    if twin != "wiki_boolq":
        with pytest.raises(ConfigError, match=r"task\.measure='accuracy'"):
            load_task(twin, measure="accuracy")


# --- what can be read, and what is given away


def test_a_verdict_can_be_read_off_the_passage(boolq: Task) -> None:
    for problem in boolq.splits["test"]:
        question = wiki.Question.read(passages.question(problem))
        assert str(question.answer(stated(problem))) == problem.answer


def by_hand(text: str, facts: dict[tuple[str, str], str]) -> str | None:
    """Answer a question from some facts: nothing of the package, a reading of the words of its own."""

    def at(words: str | None) -> str | None:
        found = re.fullmatch(r"the (teacher|friend|town|field) of (.+)", words or "")
        return facts.get((at(found[2]) or "", found[1])) if found else words

    if found := re.fullmatch(r"(?:When was|When did) (.+) (born|die)\?", text):
        return facts.get((at(found[1]) or "", {"die": "died"}.get(found[2], found[2])))
    return at(text.removesuffix("?").split(" is ", 1)[1])


def test_a_span_can_be_read_off_the_passage_or_is_not_there(squad: Task) -> None:
    kinds = Counter[tuple[str, bool]]()
    for problem in squad.splits["test"]:
        question = passages.question(problem)
        assert (by_hand(question, stated(problem)) or "") == problem.answer
        truth = by_hand(question, WORLD.facts)
        assert truth  # the whole encyclopedia knows; the passage does not
        kinds[problem.kind, question.count(" of ") + ("When" in question) > 1] += 1
    assert len(kinds) == 4  # one hop and two, with an answer and without
    assert min(kinds.values()) > 40


def template(problem: Problem) -> str:
    return re.sub(r"(?<=[ ,])[A-Z][a-z]+( [A-Z][a-z]+)?|\d+", "X", passages.question(problem))


def guessed(train: Sequence[Problem], test: Sequence[Problem], of: Callable[[Problem], str], by: Any) -> float:
    """Return the share right of guessing what is most often right of questions of the same template."""
    seen: dict[str, Counter[str]] = {}
    for problem in train:
        seen.setdefault(by(problem), Counter())[of(problem)] += 1
    usual = Counter(map(of, train))
    return sum(seen.get(by(p), usual).most_common(1)[0][0] == of(p) for p in test) / len(test)


def test_a_question_alone_does_not_tell(boolq: Task, squad: Task) -> None:
    for task, of in ((boolq, lambda p: p.answer), (squad, lambda p: p.kind)):
        train, test = task.splits["train"], task.splits["test"]
        assert abs(sum(of(p) == of(test[0]) for p in test) / len(test) - 0.5) < 0.07
        assert guessed(train, test, of, template) < 0.6
        assert guessed(train, test, of, lambda p: str(len(p.context[0].splitlines()))) < 0.6  # nor does the length


def test_the_passages_are_phrases_of_the_nano_tokenizer(boolq: Task, squad: Task) -> None:
    render = Render(nano.tokenizer(nano.Wiki()), PLAIN)  # type: ignore[arg-type]
    bytes_of = range(2, 2 + 256)
    for problem in (*boolq.splits["test"][:60], *squad.splits["test"][:60]):
        ids = render.prompt(problem)
        assert render.text(ids) == f"{problem.prompt}\n"
        assert not [i for i in ids if i in bytes_of], problem.prompt
        assert len(ids) < 200


# --- tasks told in words


@pytest.mark.parametrize("version", [1, 2])
def test_examples_are_explained_and_about_nobody_asked_for(files: Path, version: int) -> None:
    folder = files / f"natural_instructions_v{version}"
    tasks = [read_task(path) for split in twins.SPLITS for path in sorted((folder / split).glob("*.json"))]
    assert len(tasks) == 12
    shown_people = set(WORLD.persons[:4])
    judge = load_task("wiki_instructions", **SMALL).score
    for task in tasks:
        assert len(task.positives) == len(task.negatives) == 2
        assert all(shown.reason for shown in (*task.positives, *task.negatives))
        assert all(bool(shown.suggestion) == (version == 1) for shown in task.negatives)
        assert bool(task.caution) == (version == 1)
        assert tasks[0].positives == tasks[4].positives  # the same examples in every split
        about = [passages.question(p).split(": ", 1)[1] for p in task.instances]
        assert not [text for text in about if text.startswith(tuple(shown_people))]
        for shown in (*task.positives, *task.negatives):
            assert shown.input.split(": ", 1)[1].startswith(tuple(shown_people))
        for problem in task.instances[:10]:
            assert all(judge(problem, reference).value == 1 for reference in problem.references)


def test_wrong_outputs_are_wrong_and_the_suggestion_mends_them(files: Path) -> None:
    for path in sorted((files / "natural_instructions_v1/test").glob("*.json")):
        for shown in read_task(path).negatives:
            mended = re.sub(r"^(Write:?|Ask for what the sentence says:) ", "", shown.suggestion)
            assert shown.output.rstrip(".") not in mended
            facts = {line for page in WORLD.pages.values() for line in (fact.statement for fact in page)}
            if "answer_generation" in path.stem:
                question = shown.input.rpartition("Question: ")[2]
                assert by_hand(question, WORLD.facts) == mended.rstrip(".") != shown.output
            elif "question_generation" in path.stem:
                sentence = shown.input.removeprefix("Sentence: ")
                assert sentence.endswith(f" {by_hand(mended, WORLD.facts)}.")
                assert not sentence.endswith(f" {by_hand(shown.output, WORLD.facts)}.")
            elif "check" in path.stem:
                said = shown.input.rpartition("Sentence: ")[2]
                assert mended.rstrip(".") == ("Yes" if said in facts else "No") != shown.output
            else:
                assert mended in facts
                assert shown.output not in facts
