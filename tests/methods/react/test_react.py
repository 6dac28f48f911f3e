import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from thinktwice.config import Recipe, load, merge, parse
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods import build_method
from thinktwice.methods.react import React, collecting
from thinktwice.methods.react.distil import Work
from thinktwice.methods.react.episode import ANSWER, SEARCH
from thinktwice.methods.react.pairs import CONSTANT, PREVIOUS
from thinktwice.methods.react.players import ScriptPlayer
from thinktwice.methods.react.store import Store
from thinktwice.methods.react.tags import TAGS
from thinktwice.methods.react.teacher import Teacher
from thinktwice.methods.react.written import read_episode
from thinktwice.nano import resolve
from thinktwice.records import TraceRecord
from thinktwice.render import Render
from thinktwice.tasks import hotpotqa, load_task
from thinktwice.tasks.worlds.wiki import Encyclopedia, hops
from thinktwice.train.settings import Training
from thinktwice.types import Pair, Sampling, Task, Trace

ROOT = Path(__file__).parents[3]
DATA = ROOT / "../shared/data/hotpotqa_300"
METHOD = React(k=1)


@pytest.fixture(scope="module")
def render():
    tokenizer = AutoTokenizer.from_pretrained(resolve("nano-wiki"))
    tokenizer.add_special_tokens({"additional_special_tokens": TAGS})
    return Render(tokenizer)


@pytest.fixture(scope="module")
def problems():
    drawn = {p.id: p for p in islice(hops.problems(Encyclopedia(), 0, (2, 3), "train"), 60)}
    return list(drawn.values())[:30]


@pytest.fixture
def task(problems):
    return Task("hops", {"train": problems}, hotpotqa.score)


def student(method, render, problems, *, better=True):
    """Searches twice for the same and then guesses; asked for another step, it searches for the next page or loops."""
    grammar = method.written_in(render)
    by_prompt = {grammar.prompt(p.prompt): p for p in problems}

    def write(prompt):
        problem = next(p for begun, p in by_prompt.items() if tuple(prompt[: len(begun)]) == begun)
        first, second = problem.support[:2]
        if tuple(prompt) in by_prompt:
            turns = [("", SEARCH, first), ("So.", SEARCH, first), ("", ANSWER, "nobody")]
            return [i for turn in turns for i in grammar.act(*turn)]
        return grammar.act("", SEARCH, second if better else first)

    return ScriptedEngine(write, eos_ids=(render.end_id,), name="student")


def learned(row):
    return [t for t, w in zip(row.targets, row.weights, strict=True) if w]


# -- distillation ------------------------------------------------------------------------------------------------------


def test_it_learns_what_the_teacher_wrote_and_sees_what_was_found(render, problems, task):
    traces = METHOD.collect(problems, None, render, task, 0)
    rows = METHOD.examples(problems, traces, render)
    assert len(rows) == len(traces) == len(problems)
    grammar = METHOD.written_in(render)
    for problem, trace, row in zip(problems, traces, rows, strict=True):
        prompt = grammar.prompt(problem.prompt)
        assert row.token_ids[: len(prompt)] == prompt
        spelled = [i for t in Teacher().plan(problem, METHOD.retriever, 0) for i in grammar.act(*_parts(t))]
        assert learned(row) == [*spelled, render.end_id]
        assert trace.corpus == METHOD.retriever.corpus
        episode = read_episode(trace, grammar)
        assert episode.sources == problem.support
        assert episode.answer == problem.answer


def _parts(turn):
    return turn.thought, turn.tool, turn.argument


def test_an_imperfect_teacher_is_filtered_and_counted(render, problems, task, tmp_path):
    sloppy = replace(METHOD, script=Teacher(repeats=0.5, early=0.3))
    method = sloppy.prepare(problems, None, render, task, 0, tmp_path)
    traces = method.collect(problems, None, render, task, 0)
    counts = json.loads((tmp_path / collecting.COUNTS).read_text())
    taught = counts["taught"]
    assert taught["kept"] == len(traces) == counts["budget"]["rows"]
    assert 30 == taught["episodes"] == taught["kept"] + sum(taught["dropped"].values())
    assert set(taught["dropped"]) == {"wrong answer", "loop"}
    with Store(tmp_path / "episodes.sqlite") as store:
        assert len(store) == 30
    kept_all = replace(method, filters=replace(method.filters, no_loop=False, f1_threshold=0.01))
    assert len(kept_all.collect(problems, None, render, task, 0)) > len(traces)


def test_what_was_played_is_not_played_again(render, problems, task, tmp_path, monkeypatch):
    method = METHOD.prepare(problems, None, render, task, 0, tmp_path)
    first = method.collect(problems[:20], None, render, task, 0)
    played = []

    def play(self, problems, sample):
        played.extend(problems)
        return [Trace(p.id, stop="error", error="no teacher") for p in problems]

    monkeypatch.setattr(ScriptPlayer, "play", play)
    assert method.collect(problems[:20], None, render, task, 0) == first
    assert played == []
    method.collect(problems[10:25], None, render, task, 0)
    assert played == problems[20:25]
    with pytest.raises(DataError, match=r"no episode was good enough(.|\n)*open 20: no teacher"):
        replace(method, k=2).collect(problems[:20], None, render, task, 0)


def test_a_model_teaches_with_worked_examples(render, problems, task, tmp_path):
    method = replace(METHOD, teacher="model", teacher_shots=3, work=Work(stop=2), store=str(tmp_path / "e.sqlite"))
    shown = method.written_in(render, shots=3)
    plans = {
        shown.prompt(p.prompt): [i for t in Teacher().plan(p, METHOD.retriever, 0) for i in shown.act(*_parts(t))]
        for p in problems[:2]
    }
    engine = ScriptedEngine(lambda prompt: plans[tuple(prompt)], eos_ids=(render.end_id,))
    traces = method.collect(problems, engine, render, task, 0)
    rows = method.examples(problems, traces, render)
    assert len(rows) == 2
    assert all(len(row.token_ids) < len(prompt) for row, prompt in zip(rows, plans, strict=True))
    with pytest.raises(DataError, match="teacher=model needs a model"):
        method.collect(problems, None, render, task, 0)


def test_a_limit_is_refused_or_counted(render, problems, task, tmp_path):
    with pytest.raises(DataError, match=r"rows are longer than method\.max_length=60 .* actions would be lost whole"):
        replace(METHOD, max_length=60).collect(problems, None, render, task, 0)
    cut = replace(METHOD, max_length=60, overflow="cut", counts=str(tmp_path / "stages/c.json"))
    traces = cut.collect(problems, None, render, task, 0)
    budget = json.loads((tmp_path / "stages/c.json").read_text())["budget"]
    assert budget["over"] > 0
    whole = [learned(row) for row in METHOD.examples(problems, traces, render)]
    left = [learned(row) for row in cut.examples(problems, traces, render)]
    assert budget["tokens_lost"] == sum(map(len, whole)) - sum(map(len, left))
    steps = replace(METHOD, rows="step").examples(problems, traces, render)
    assert [i for row in steps for i in learned(row)] == [i for row in whole for i in row]


# -- preferences -------------------------------------------------------------------------------------------------------


def test_pairs_are_mined_where_the_student_looped(render, problems, task, tmp_path):
    method = replace(METHOD, objective="dpo", pairs=("loop",)).prepare(problems, None, render, task, 0, tmp_path)
    traces = method.collect(problems, student(method, render, problems), render, task, 0)
    pairs = method.examples(problems, traces, render)
    assert len(pairs) == len(problems)
    grammar = method.written_in(render)
    for pair, problem in zip(pairs, problems, strict=True):
        assert isinstance(pair, Pair)
        assert pair.kind == "loop"
        assert tuple(learned(pair.rejected)) == grammar.act("So.", SEARCH, problem.support[0])
        assert tuple(learned(pair.chosen)) == grammar.act("", SEARCH, problem.support[1])
        shared = len(pair.chosen.token_ids) - len(learned(pair.chosen))
        assert pair.chosen.token_ids[:shared] == pair.rejected.token_ids[:shared]
    counts = json.loads((tmp_path / collecting.COUNTS).read_text())
    assert counts["mined"]["own"] == {"loop": 30} == counts["pairs"]
    assert counts["played"]["dropped"] == {"wrong answer": 30}


def test_where_the_student_knows_no_better_the_teacher_does(render, problems, task):
    method = replace(METHOD, objective="dpo")
    engine = student(method, render, problems, better=False)
    pairs = method.examples(problems, method.collect(problems, engine, render, task, 0), render)
    assert sorted({p.kind for p in pairs}) == ["early stop", "loop"]
    grammar = method.written_in(render)
    problem = problems[0]
    fact = hops.chain(problem)[0].statement
    assert tuple(learned(pairs[0].chosen)) == grammar.act(fact, SEARCH, problem.support[1])
    answers = [p.rejected for p in pairs if p.kind == "early stop"]
    assert all(learned(side)[-1] == render.end_id for side in answers)
    with pytest.raises(DataError, match=r"no pair of steps(.|\n)*30 without one"):
        replace(method, taught=False).collect(problems, engine, render, task, 0)


def test_arafts_pairs_from_right_episodes(render, problems, task):
    method = replace(METHOD, objective="dpo", pairs=("araft",))
    traces = method.collect(problems, None, render, task, 0)
    pairs = method.examples(problems, traces, render)
    assert {p.kind for p in pairs} == {CONSTANT, PREVIOUS}
    assert [p.kind for p in pairs].count(CONSTANT) == len(problems)
    assert len(pairs) == sum(len(p.support) + 1 for p in problems)
    assert tuple(learned(pairs[0].rejected)) == collecting.constant(render)
    assert learned(pairs[1].rejected) == learned(pairs[0].chosen)
    short = replace(method, max_prompt=4).examples(problems, traces, render)
    assert all(len(p.chosen.token_ids) - len(learned(p.chosen)) == 4 for p in short)


def test_preferences_need_a_student(render, problems, task):
    with pytest.raises(DataError, match="name an arm to start from"):
        replace(METHOD, objective="dpo").collect(problems, None, render, task, 0)


# -- answering ---------------------------------------------------------------------------------------------------------


def test_it_answers_as_the_teacher_would(render, problems, task):
    grammar = METHOD.written_in(render)
    plans = {
        grammar.prompt(p.prompt): [i for t in Teacher().plan(p, METHOD.retriever, 0) for i in grammar.act(*_parts(t))]
        for p in problems
    }
    engine = ScriptedEngine(lambda prompt: plans[tuple(prompt)], eos_ids=(render.end_id,))
    traces = METHOD.solve(problems, engine, render, Sampling())
    assert all(task.score(p, t.reply).value == 1 for p, t in zip(problems, traces, strict=True))
    # What training shows of an episode is what decoding showed.
    rows = METHOD.examples(problems, METHOD.collect(problems, None, render, task, 0), render)
    for prompt, trace, row in zip(plans, traces, rows, strict=True):
        shown = (*prompt, *(i for step in trace.kept for i in step.token_ids))
        assert row.token_ids == (*shown, render.end_id)


@pytest.mark.parametrize("baseline", ["closed_book", "one_shot"])
def test_baselines_answer_at_once(render, problems, baseline):
    method = replace(METHOD, baseline=baseline)
    grammar = method.written_in(render)
    engine = ScriptedEngine(lambda prompt: grammar.act("", ANSWER, "nobody")[1:], eos_ids=(render.end_id,))
    traces = method.solve(problems[:3], engine, render, Sampling())
    for problem, prompt, trace in zip(problems, engine.prompts, traces, strict=False):
        assert trace.problem_id == problem.id
        assert trace.steps[0].text == "<answer>"
        page = METHOD.retriever.search(problem.prompt, 1)[0].text
        assert (page in render.text(prompt)) == (baseline == "one_shot")


def test_findings_tell_of_the_training(render, problems, task, tmp_path):
    method = METHOD.prepare(problems, None, render, task, 0, tmp_path / "collect-sft/fitted")
    traces = method.collect(problems, None, render, task, 0)
    records = [
        TraceRecord(p.id, "sft", p.level, p.prompt, p.answer, t, task.score(p, t.reply))
        for p, t in zip(problems, traces, strict=True)
    ]
    found = method.findings(problems, records, render, task, tmp_path / "train-sft/model")
    assert found[-1].title == "What it learned from"
    assert ("kept", "30") in found[-1].rows
    without = method.findings(problems, records, render, task, tmp_path / "base")
    assert found[:-1] == without


@pytest.mark.skipif(not DATA.is_dir(), reason="the 300 questions are not here")
def test_300_real_questions_with_a_scripted_policy(tmp_path):
    """Every page is searched for by its title on a corpus of all paragraphs."""
    from thinktwice.tools.build import build
    from thinktwice.tools.documents import read_documents

    task = load_task("hotpotqa", path=str(DATA))
    build(read_documents(sorted(DATA.glob("*.json"))), tmp_path / "corpus.sqlite", source="test")
    method = React(corpus=str(tmp_path / "corpus.sqlite"), grammar="text", k=1, observation_tokens=200)
    render = Render(AutoTokenizer.from_pretrained(resolve("nano")))
    questions = task.splits["test"][:40]
    traces = method.collect(questions, None, render, task, 0)
    assert len(traces) > 20
    assert len(method.examples(questions, traces, render)) == len(traces)


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k": 0}, "method.k=0"),
        ({"observation_tokens": 2}, "observation_tokens=2"),
        ({"tools": []}, "baseline=closed_book"),
        ({"overflow": "cut"}, "set method.max_length"),
        ({"max_prompt": 128}, "rows=step or objective=dpo"),
        ({"pairs": []}, "method.pairs needs an entry"),
        ({"objective": "dpo", "siblings": 0, "taught": False}, "nothing could be preferred"),
        ({"teacher": "model", "temperature": 0, "work": {"samples": 2}}, "would all be the same"),
        ({"guard": "ban", "guarded": ["nothing new"]}, "a ban cannot know"),
        ({"script": {"detours": 3}}, "no probability"),
        ({"filters": {"f1_threshold": 0}}, "f1_threshold=0"),
        ({"pair": ["loop"]}, "Did you mean 'pairs'"),
    ],
)
def test_what_contradicts_itself_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        build_method("react", options)


def test_its_control_tokens_are_the_tags():
    assert [token.token for token in METHOD.control_tokens] == [t for t in TAGS if "open" not in t]
    assert replace(METHOD, tag_tokens=False).control_tokens == replace(METHOD, grammar="text").control_tokens == ()


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/react*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_loads_strictly(path):
    recipe = load(Recipe, path)
    assert recipe.name == path.stem
    for name in recipe.arms:
        spec = recipe.method_of(name)
        build_method(spec.name, spec.options)
        parse(Training, merge(recipe.train, recipe.arms[name].train), f"arms.{name}.train")


def test_the_7b_recipe_carries_the_published_training():
    recipe = load(Recipe, ROOT / "recipes/react_7b.yaml")
    sft = parse(Training, recipe.train, "train")
    assert (sft.mode, sft.bits, sft.lora_rank, sft.lora_alpha, sft.lora_dropout) == ("qlora", 4, 16, 32, 0.05)
    assert (sft.lr, sft.schedule, sft.batch_size, sft.epochs, sft.weight_decay) == (2e-4, "linear", 4, 1, 0.01)
    araft = parse(Training, merge(recipe.train, recipe.arms["dpo_araft"].train), "train")
    assert (araft.lr, araft.schedule, araft.warmup_steps, araft.beta) == (5e-5, "cosine", 100, 0.1)
    methods = {name: build_method(*_spec(recipe, name)) for name in recipe.arms}
    assert (methods["sft_cut"].max_length, methods["sft_cut"].overflow) == (1024, "cut")
    assert (methods["dpo_araft"].max_length, methods["dpo_araft"].max_prompt) == (512, 128)
    assert methods["sft_full"].max_length is None
    assert recipe.arms["dpo"].start == recipe.arms["dpo_araft"].start == recipe.arms["guard"].weights == "sft_full"
    text = " ".join((ROOT / "recipes/react_7b.yaml").read_text().replace("#", "").split())
    assert "No number was measured with this recipe here" in text


def _spec(recipe, name):
    spec = recipe.method_of(name)
    return spec.name, spec.options
