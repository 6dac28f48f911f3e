"""BoolQ, SQuAD and Natural Instructions through the harness: the same replies, the same scores."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError
from thinktwice.evals import Evaluation, evaluate, texts
from thinktwice.evals.harness import ThinkTwiceLM
from thinktwice.evals.reply import Reply
from thinktwice.tasks import load_task
from thinktwice.tasks.worlds.wiki import twins
from thinktwice.types import Step, Task, Trace

from .conftest import SLIPS, make_chain

DATA = Path(__file__).parents[2] / "../shared/data/squad/dev-v2.0.cs224n-split.json"
COUNT = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return twins.write(tmp_path_factory.mktemp("twins"), train=8, dev=4, test=COUNT)


class Says:
    """A solver that replies what it is told by problem."""

    def __init__(self, replies):
        self.replies = replies

    def solve(self, problems, engine, render, sampling):
        return [Trace(p.id, (Step("text", self.replies[p.id], (1, 2)),)) for p in problems]


def evaluated(tokenizer, name: str, data: Path, task: Task, replies: list[str]) -> Evaluation:
    said = {p.id: reply for p, reply in zip(task.splits["test"], replies, strict=True)}
    model = ThinkTwiceLM(LocalEngine(make_chain(tokenizer, SLIPS), tokenizer), tokenizer, Says(said))
    return evaluate(model, [name], options={"data": str(data)})[name]


def mean(task: Task, replies: list[str]) -> float:
    values = [task.score(p, reply).value for p, reply in zip(task.splits["test"], replies, strict=True)]
    return sum(values) / len(values)


def test_boolq(tokenizer, files):
    task = load_task("boolq", path=str(files / "boolq"), dev=None)
    replies = ["The answer is: True", "No.", "I cannot tell"] * (COUNT // 3)
    found = evaluated(tokenizer, "thinktwice_boolq", files / "boolq", task, replies)
    assert found.metrics["accuracy"] == found.accuracy.value == pytest.approx(mean(task, replies))
    assert 0 < found.metrics["accuracy"] < 1
    assert found.metrics["unparsed"] == pytest.approx(1 / 3)
    assert (found.metrics["undo_replies"], found.metrics["sampled_tokens"]) == (0, 2)
    assert not {"f1", "rougeL"} & found.metrics.keys()


def test_squad(tokenizer, files):
    tasks = {name: load_task("squad", path=str(files / "squad"), dev=None, measure=name) for name in ("em", "f1")}
    answers = [p.answer for p in tasks["f1"].splits["test"]]
    replies = [f"The answer is: {text and f'{text} Smith'}" for text in answers[: COUNT // 2]]
    replies += ["The answer is: unanswerable", ""] * (COUNT // 4)
    found = evaluated(tokenizer, "thinktwice_squad", files / "squad", tasks["f1"], replies)
    assert found.metrics["accuracy"] == pytest.approx(mean(tasks["em"], replies))
    assert found.metrics["f1"] == pytest.approx(mean(tasks["f1"], replies))
    assert 0 < found.metrics["accuracy"] < found.metrics["f1"] < 1
    none = sum(reply in ("", "The answer is: ") for reply in replies)
    assert found.metrics["unparsed"] == pytest.approx(none / COUNT)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_natural_instructions(tokenizer, files, version):
    data = files / f"natural_instructions_{version}"
    task = load_task("natural_instructions", path=str(data))
    test = task.splits["test"]
    replies = [(p.references[-1], f"{p.answer} or so", "")[i % 3] for i, p in enumerate(test)]
    found = evaluated(tokenizer, "thinktwice_natural_instructions", data, task, replies)
    assert found.n == 4 * COUNT
    assert found.metrics["rougeL"] == pytest.approx(mean(task, replies))
    assert found.metrics["accuracy"] == pytest.approx(1 / 3)
    assert found.metrics["unparsed"] == pytest.approx(1 / 3)
    assert 1 / 3 < found.metrics["rougeL"] <= found.metrics["rouge1"] < 1
    few = texts.natural_instructions(data=str(data), per_task=2)["test"]
    assert len(few) == 8


def test_a_prompt_is_the_passage_the_question_and_a_line_break(tokenizer, files):
    seen = []

    class Remembers(Says):
        def solve(self, problems, engine, render, sampling):
            seen.extend((p.id, p.prompt) for p in problems)
            return super().solve(problems, engine, render, sampling)

    task = load_task("boolq", path=str(files / "boolq"), dev=None)
    engine = LocalEngine(make_chain(tokenizer, SLIPS), tokenizer)
    model = ThinkTwiceLM(engine, tokenizer, Remembers({p.id: "" for p in task.splits["test"]}))
    evaluate(model, ["thinktwice_boolq"], options={"data": str(files / "boolq")})
    assert seen == [(p.id, f"{p.prompt}\n") for p in task.splits["test"]]


def test_data_that_are_not_there_are_told():
    with pytest.raises(ConfigError, match="needs the option 'path'"):
        texts.natural_instructions()


def test_a_failed_reply_is_counted_apart_and_another_models_has_no_retractions():
    row = {"id": "a", "question": "q", "references": [""]}
    assert texts.squad_scores(row, ["no answer"]) == {"accuracy": 1.0, "f1": 1.0, "unparsed": 0.0}
    failed = texts.squad_scores(row, [Reply("", Trace("a", stop="error", error="out of memory"))])
    assert (failed["accuracy"], failed["unparsed"], failed["unscored"]) == (0.0, 1.0, 1.0)


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
def test_the_real_file_of_squad_in_the_harness():
    rows = texts.squad(data=str(DATA))["test"]
    assert len(rows) == 6078
    assert sum(texts.squad_scores(row, ["unanswerable"])["accuracy"] for row in rows) == 3168
