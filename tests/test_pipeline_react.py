"""ReAct through the whole pipeline, made small: the recipe with all its arms, and real questions."""

from pathlib import Path

import pytest

from thinktwice.config import Recipe, load, parse
from thinktwice.methods.react.collecting import COUNTS, Collected
from thinktwice.methods.react.taxonomy import FAILURES
from thinktwice.pipeline import run_recipe
from thinktwice.records import Summary, TraceRecord
from thinktwice.report import report
from thinktwice.run import Run
from thinktwice.run.files import read_json
from thinktwice.tools.build import build
from thinktwice.tools.corpus import open_corpus
from thinktwice.tools.documents import read_documents

ROOT = Path(__file__).parents[1]
DATA = ROOT / "../shared/data/hotpotqa_300"


def records(run: Run, arm: str) -> list[TraceRecord]:
    return [parse(TraceRecord, row) for row in run.traces(arm).done.values()]


def counted(run: Run, arm: str) -> Collected:
    return parse(Collected, read_json(run.root / f"stages/collect-{arm}/fitted" / COUNTS), COUNTS)


def titles(run: Run, arm: str) -> set[str]:
    summary = parse(Summary, run.summary() or {})
    return {finding.title for finding in summary.findings[arm]}


def test_the_recipe_with_all_its_arms(tmp_path: Path) -> None:
    small = ("task.train=60", "task.per_level=3", "evaluation.problems=3", "evaluation.dev_problems=2")
    short = ("train.steps=2", "train.tokens_per_step=1500", "decode.max_new_tokens=40", "method.max_new_tokens=40")
    arms = [f"arms.{arm}.train.steps=1" for arm in ("dpo", "dpo_araft", "cut_dpo_araft")]
    limits = [f"arms.{arm}.method.work.stop=8" for arm in ("dpo", "dpo_araft", "cut_dpo_araft")]
    recipe = load(Recipe, ROOT / "recipes/react.yaml", [*small, *short, *arms, *limits])
    run = Run.load(run_recipe(recipe, tmp_path / "run"))
    assert run.summary() is not None
    corpus = open_corpus("wiki").corpus
    for arm in recipe.arms:
        found = records(run, arm)
        assert len(found) == 3 * len(recipe.evaluation.levels)
        assert {record.trace.corpus for record in found} == {corpus}
        assert {record.failure for record in found} <= {"", *FAILURES}
    whole, cut = counted(run, "sft_full").budget, counted(run, "sft_cut").budget
    assert whole is not None
    assert cut is not None
    assert (whole.lost, whole.cut) == (0, 0)
    assert cut.lost > cut.turns / 4  # the length that loses most actions
    assert counted(run, "dpo").mined is not None
    assert set(counted(run, "dpo_araft").pairs) == {"constant sentence", "previous step"}
    assert {"Answers", "What it learned from", "Loops", "What went wrong"} <= titles(run, "dpo")
    assert "What it learned from" not in titles(run, "base")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/hotpotqa_300")
def test_real_questions_with_a_scripted_policy_and_with_a_model(tmp_path: Path) -> None:
    """300 of HotpotQA's questions, their own paragraphs as the corpus; a script teaches, a model answers."""
    build(read_documents([DATA]), tmp_path / "corpus.sqlite", "hotpotqa_300")
    tree = {
        "name": "hotpot",
        "task": {"name": "hotpotqa", "path": str(DATA), "train": 30, "dev": 10},
        "model": {"path": "nano-wiki"},
        "method": {
            "name": "react",
            "corpus": str(tmp_path / "corpus.sqlite"),
            "k": 1,
            "max_turns": 3,
            "observation_tokens": 24,
            "max_new_tokens": 30,
            "max_length": 480,
            "overflow": "drop",
            "filters": {"grounded": False},
        },
        "train": {"steps": 2, "tokens_per_step": 1500, "max_length": 512},
        "decode": {"max_new_tokens": 30, "batch_size": 8},
        "evaluation": {"problems": 4, "dev_problems": 0, "levels": [1, 2, 3]},
        "arms": {
            "closed_book": {"trained": False, "method": {"baseline": "closed_book"}},
            "one_shot": {"trained": False, "method": {"baseline": "one_shot", "k": 1}},
            "sft": {},
        },
    }
    run = Run.load(run_recipe(parse(Recipe, tree), tmp_path / "run"))
    taught = counted(run, "sft").taught
    assert taught is not None
    assert taught.kept + sum(taught.dropped.values()) == taught.episodes == 30
    assert taught.kept > 15
    for arm in tree["arms"]:
        found = records(run, arm)
        assert sorted(record.level for record in found) == [1] * 4 + [2] * 4 + [3] * 4
        assert {record.trace.corpus for record in found} == {open_corpus(tmp_path / "corpus.sqlite").corpus}
    assert not any(step.kind == "observation" for record in records(run, "closed_book") for step in record.trace.steps)
    assert {"Answers", "Loops", "What went wrong"} <= titles(run, "one_shot")
    page = report(run.root).read_text(encoding="utf-8")
    assert "What went wrong" in page
