"""The base that has read the encyclopedia: its language, what it reads, and what the shipped one knows."""

import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktwice import nano as bundled
from thinktwice.config import Spec, load
from thinktwice.errors import ConfigError
from thinktwice.render import PLAIN, Render
from thinktwice.tasks.worlds import wiki
from thinktwice.tasks.worlds.wiki.encyclopedia import EXPOSURES
from thinktwice.tasks.worlds.wiki.oracle import ANSWER
from thinktwice.train import nano
from thinktwice.train.nano.wiki import MOST_MARKS, TAGS, recall
from thinktwice.types import Example

RECIPE = Path(__file__).parents[2] / "recipes" / "nano_wiki.yaml"
WORLD = cast(nano.Wiki, nano.world(load(nano.Pretraining, RECIPE)))


@pytest.fixture(scope="module")
def render() -> Render:
    return Render(cast(Any, nano.tokenizer(WORLD)), PLAIN)


@pytest.fixture(scope="module")
def documents(render: Render) -> list[Example]:
    return list(islice(WORLD.examples(render, 0), 3000))


def read(render: Render, example: Example) -> tuple[str, list[str]]:
    """Return the text of a document, and the runs of it that are learned."""
    learned = [False, *(weight > 0 for weight in example.weights[:-1])]
    runs: list[list[int]] = []
    for index, (token, counts) in enumerate(zip(example.token_ids, learned, strict=True)):
        if counts:
            if not learned[index - 1]:
                runs.append([])
            runs[-1].append(token)
    return render.text(example.token_ids), [render.text(run) for run in runs]


# --- the language


def test_every_text_of_the_world_is_spelled_without_a_byte_and_comes_back(render: Render) -> None:
    byte_ids = range(2, 2 + 256)
    assert len(render.tokenizer) <= WORLD.rows - 64  # room for planning tokens
    texts = [WORLD.pages.page(subject) + "\n" for subject in WORLD.pages.pages]
    for problem in islice(wiki.problems(WORLD.pages, 0, (1, 6)), 300):
        texts += [problem.prompt + "\n", problem.solution or ""]
    for text in texts:
        ids = render.encode(text)
        assert render.text(ids) == text
        assert not [i for i in ids if i in byte_ids], text
    for tag in TAGS:
        assert len(render.encode(tag)) == 1


def test_a_line_is_cut_at_its_end_so_that_steps_are_whole_tokens(render: Render) -> None:
    for problem in islice(wiki.problems(WORLD.pages, 1, (1, 6)), 100):
        steps = render.steps(problem.solution or "")
        assert len(steps) == len(problem.labels) + 1
        assert all(step[-1] in render.step_ends for step in steps[:-1])
        assert render.solution(problem.solution or "") == (*render.encode(problem.solution or ""), render.end_id)


@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_other_text_survives_too(render: Render, text: str) -> None:
    assert render.text(render.encode(text)) == text


# --- what is read


def test_statements_are_met_as_often_as_their_exposure_says_and_only_values_are_learned(
    render: Render, documents: list[Example]
) -> None:
    met: Counter[int] = Counter()
    for example in documents:
        if example.problem_id != "statements":
            continue
        text, learned = read(render, example)
        facts = [wiki.Fact.read(line) for line in text.splitlines()]
        assert len(facts) == WORLD.statements
        assert all(fact is not None and WORLD.pages.states(fact) for fact in facts)
        assert learned == [f"{fact.value}.\n" for fact in facts if fact]
        met.update(WORLD.pages.exposures(f) for f in facts if f and f.subject in WORLD.pages.persons)
    each = met.total() / sum(EXPOSURES)
    assert met.keys() == set(EXPOSURES)
    assert all(0.75 < met[grade] / grade / each < 1.33 for grade in EXPOSURES)


def test_reasoning_is_about_strangers_and_never_teaches_a_value(render: Render, documents: list[Example]) -> None:
    known = set(WORLD.pages.persons)
    asked = 0
    for example in documents:
        if example.problem_id == "statements":
            continue
        asked += 1
        text, learned = read(render, example)
        assert not [name for name in known if name in text]
        question, *lines = text.splitlines()
        wiki.Question.read(question)
        lines = [re.sub(r"^([-*>~] ){0,4}", "", line) for line in lines]
        for line in lines[:-1]:
            fact = None if line.startswith("So ") else wiki.Fact.read(line)
            if fact is not None:
                assert [run for run in learned if run.endswith(fact.head)], line  # and there it stops
            else:
                assert f"{line}\n" in "".join(learned)
        assert learned[-1].endswith(lines[-1])
        assert lines[-1].startswith(ANSWER)
    assert abs(asked / len(documents) - WORLD.reasoning) < 0.05


def test_half_of_the_reasoning_has_marks_before_its_lines_and_none_is_learned(
    render: Render, documents: list[Example]
) -> None:
    reasoning = [example for example in documents if example.problem_id != "statements"]
    marked = 0
    for example in reasoning:
        text, learned = read(render, example)
        marks = [re.match(r"([-*>~] )*", line) for line in text.splitlines()[1:]]
        assert all(found and len(found.group()) <= 2 * MOST_MARKS for found in marks)
        assert not set("-*>~").intersection("".join(learned))
        marked += any(found and found.group() for found in marks)
    assert abs(marked / len(reasoning) - WORLD.marked) < 0.06  # a marked one may have drawn no mark


def test_the_same_seed_reads_the_same_and_another_seed_something_else(render: Render, documents: list[Example]) -> None:
    assert list(islice(WORLD.examples(render, 0), 60)) == documents[:60]
    assert list(islice(WORLD.examples(render, 1), 60)) != documents[:60]


def test_a_pretraining_of_this_world_runs_and_another_world_is_refused(tmp_path: Path) -> None:
    phase = replace(nano.FAST, steps=2, tokens_per_step=300, warmup_steps=0, save_every=0, log_every=1)
    small = replace(load(nano.Pretraining, RECIPE), hidden_size=16, layers=1, heads=2, feed_forward=16, phases=(phase,))
    stable, annealed = nano.pretrain(small, tmp_path / "wiki")
    assert annealed is None
    assert AutoTokenizer.from_pretrained(stable).get_vocab() == nano.tokenizer(WORLD).get_vocab()
    with pytest.raises(ConfigError, match=r"no nano world is called 'wikki'.*wiki"):
        nano.pretrain(replace(small, world=Spec("wikki")), tmp_path / "other")
    with pytest.raises(ConfigError, match="unknown key 'pages'"):
        nano.pretrain(replace(small, world=Spec("wiki", {"pages": 3})), tmp_path / "other")


# --- what a base knows


def test_recall_finds_what_a_model_was_taught_and_leaves_the_model_as_it_was(render: Render) -> None:
    recipe = replace(load(nano.Pretraining, RECIPE), hidden_size=32, layers=2, heads=2, feed_forward=32)
    model = nano.model(recipe, cast(Any, render.tokenizer)).train()
    page = WORLD.pages.pages[WORLD.pages.persons[0]]
    taught, other = page[:3], page[3:]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        for fact in taught:
            ids = torch.tensor([render.encode(f"{fact.statement}\n")])
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrong = replace(taught[0], value="1000")
    assert recall(model, render, [*other, *taught, wrong]) == [False] * 3 + [True] * 3 + [False]
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_shipped_base_knows_the_encyclopedia_in_part_and_better_what_it_met_more_often() -> None:
    place = bundled.resolve("nano-wiki")
    shipped = AutoModelForCausalLM.from_pretrained(place), Render(AutoTokenizer.from_pretrained(place), PLAIN)
    pages = wiki.Encyclopedia()
    facts = [fact for person in pages.persons[::3] for fact in pages.pages[person]]
    known = recall(*shipped, facts)
    often, some, seldom, once = (
        sum(right for fact, right in zip(facts, known, strict=True) if pages.exposures(fact) == grade)
        / sum(pages.exposures(fact) == grade for fact in facts)
        for grade in EXPOSURES
    )
    assert often > 0.8
    assert 0.25 < once < 0.5  # in part
    assert often > some > seldom > once
    other = wiki.Encyclopedia(1)
    assert sum(recall(*shipped, [f for p in other.persons[::9] for f in other.pages[p]])) < 40  # of 672, by chance
