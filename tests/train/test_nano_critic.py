"""What the nano critic read: solutions, and solutions with a mistake that a weak teacher points at."""

from itertools import islice
from pathlib import Path

import pytest

from thinktwice.answer import load_engine
from thinktwice.config import load
from thinktwice.decode.walk import CORRECT, CRITIQUE, INCORRECT, TOKENS
from thinktwice.methods.evolve.critics import Critic
from thinktwice.methods.evolve.rows import Attempt
from thinktwice.nano import resolve
from thinktwice.render import Render
from thinktwice.tasks.worlds import arith
from thinktwice.train import nano
from thinktwice.train.nano.criticised import Criticised
from thinktwice.train.vocab import control_token_ids, load_tokenizer
from thinktwice.types import Example, Problem, Sampling

N = 400
ORACLE = arith.StepOracle()


@pytest.fixture(scope="module")
def render() -> Render:
    return Render(load_tokenizer(resolve("nano-critic")))


def documents(world: Criticised, render: Render, seed: int = 0) -> list[tuple[Problem, Example]]:
    problems = arith.problems("train", seed, world.operations, world.irrelevant)
    return [*islice(zip(problems, world.examples(render, seed), strict=False), N)]


def verdicts(example: Example, render: Render) -> tuple[list[str], bool | None, str]:
    """The lines that are shown; whether the last is found right (None: no critique); what is put in its place."""
    mark, right, wrong = (render.control_id(token.token) for token in (CRITIQUE, CORRECT, INCORRECT))
    if mark not in example.token_ids:
        return [], None, ""
    body = example.token_ids[example.token_ids.index(mark) + 1 :]
    lines, line = [], []
    for index, token in enumerate(body):
        if token in (right, wrong):
            lines.append(render.text(line))
            line = []
            if token == wrong:
                return lines, False, render.text(body[index + 1 :])
        else:
            line.append(token)
    assert not line  # behind the last verdict nothing is shown
    return lines, True, ""


def test_a_teacher_that_never_errs_says_what_the_step_oracle_says(render: Render) -> None:
    world = Criticised(operations=(1, 4), error=0.0)
    planted = criticised = 0
    for problem, example in documents(world, render):
        assert example.problem_id == problem.id
        lines, right, instead = verdicts(example, render)
        if right is None:
            continue
        criticised += 1
        planted += not right
        found = ORACLE.first_wrong(problem, "".join(lines))
        assert (found is None) == right
        if found is not None:
            assert found[0] == len(lines) - 1
            mended = "".join([*lines[:-1], instead])
            assert ORACLE.first_wrong(problem, mended) is None
            assert ORACLE.is_viable(problem, mended)
        else:
            assert "".join(lines) == problem.solution
    assert abs(criticised / N - world.share) < 0.08
    assert 0.2 < planted / criticised < world.wrong  # at many a line nothing could tempt a writer


def test_a_weak_teacher_says_the_other_thing_so_often(render: Render) -> None:
    world = Criticised(operations=(1, 4), error=0.3)
    errs = criticised = 0
    for problem, example in documents(world, render):
        lines, right, _ = verdicts(example, render)
        if right is None:
            continue
        criticised += 1
        found = ORACLE.first_wrong(problem, "".join(lines))
        errs += (found is None) != right
    assert abs(errs / criticised - 0.3) < 0.1


def test_only_what_the_critic_writes_is_learned(render: Render) -> None:
    mark, right, wrong = (render.control_id(token.token) for token in (CRITIQUE, CORRECT, INCORRECT))
    for problem, example in documents(Criticised(operations=(1, 4)), render):
        learned = [t for t, w in zip(example.targets, example.weights, strict=True) if w]
        if mark not in example.token_ids:
            assert tuple(learned) == render.solution(problem.solution or "")
            continue
        _, found_right, instead = verdicts(example, render)
        judged = [token for token in example.token_ids if token in (right, wrong)]
        ended = [] if found_right else [*render.encode(instead), render.end_id]
        assert learned == [*judged, *ended]
        assert set(example.weights) == {0.0, 1.0}
        assert mark not in learned


def test_it_ships_with_its_tokens_and_the_recipe_makes_its_world() -> None:
    place = resolve("nano-critic")
    assert {*control_token_ids(place)} == {token.token for token in TOKENS}
    recipe = load(nano.Pretraining, Path(__file__).parents[2] / "recipes/nano_critic.yaml")
    assert isinstance(nano.world(recipe), Criticised)
    assert recipe.start == "nano"


def test_the_shipped_critic_tells_right_solutions_from_planted_mistakes(render: Render) -> None:
    """Of problems it has not read; well above chance, and far from always right: a critic to start from."""
    engine = load_engine(Path(resolve("nano-critic")), device="cpu", batch_size=64)
    problems = [*islice(arith.problems("dev", 7_000_000, (2, 4), (0, 2)), 60)]
    attempts, truth = [], []
    for index, problem in enumerate(problems):
        lines = (problem.solution or "").splitlines(keepends=True)
        errors = ORACLE.plausible_errors(problem, "".join(lines[:1])) if index % 2 else ()
        shown = [lines[0], errors[0]] if errors else lines
        ids = tuple(token for line in shown for token in render.encode(line))
        attempts.append(Attempt(problem.id, 0, ids, "".join(shown), None, "done"))
        truth.append(not errors)
    critic = Critic(engine, Render(engine.tokenizer), "bare")
    found = critic.criticise({p.id: p for p in problems}, attempts, 1, Sampling(max_new_tokens=60), "self")
    said = [own[0].feedback.says_right for own in found]
    assert None not in said
    right = [s for s, t in zip(said, truth, strict=True) if t]
    wrong = [not s for s, t in zip(said, truth, strict=True) if not t]
    assert min(len(right), len(wrong)) >= 20
    assert sum(right) / len(right) > 0.6
    assert sum(wrong) / len(wrong) > 0.6
    located = [own[0].feedback.step for own, t, s in zip(found, truth, said, strict=True) if not t and not s]
    assert located.count(2) > len(located) / 2
