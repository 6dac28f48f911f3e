"""From choices to a saved verifier that answers the same in another process."""

import json
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from thinktwice.engines.base import ChoosingEngine
from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError, DataError, ModelError, TrainError
from thinktwice.train import Training, fit
from thinktwice.train.adapters import merge
from thinktwice.train.choices import ChoiceSteps, group_orders
from thinktwice.train.settings import VERIFIER
from thinktwice.types import Choice, Example, Move, Sampling


def make_choices(items, seed=0):
    draw = random.Random(seed)
    choices = []
    for k in range(items):
        question = [draw.randrange(20, 260) for _ in range(draw.randint(2, 6))]
        candidates = [[draw.randrange(20, 260) for _ in range(draw.randint(3, 6))] for _ in range(2)]
        argued = tuple((*question, 4, *candidate) for candidate in candidates)
        for order in ((0, 1), (1, 0)):
            ids, moves = list(question), []
            for source in order:
                ids.append(4)
                moves.append(Move(source, len(question) + 1, len(ids), len(candidates[source])))
                ids += candidates[source]
            ids += [5, 6]
            choices.append(Choice(argued, tuple(ids), tuple(moves), (7, 8), order.index(0), f"{seed}-{k}"))
    return choices


SETTINGS = Training(mode="lora", lora_rank=2, batch_size=8, steps=6, lr=0.02, log_every=1)


@pytest.fixture
def train(tmp_path, make_base):
    base = make_base()

    def run(name="out", settings=SETTINGS, choices=None, **options):
        choices = make_choices(12) if choices is None else choices
        return fit(choices, base, tmp_path / name, settings, **options)

    return run


@pytest.mark.slow
def test_a_saved_verifier_is_whole_and_answers_the_same_in_another_process(train, tmp_path):
    choices = make_choices(4, seed=9)
    told = []
    final = train(on_audit=told.append)
    assert sorted(path.name for path in final.iterdir() if path.is_dir()) == ["arguer", "chooser"]
    assert not [path for path in final.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    assert json.loads((final / "verifier.json").read_text()) == {"arguer": "joint", "layers": [], "parts": "kv"}
    weights = load_file(final / "arguer/adapter_model.safetensors")
    assert any(float(w.abs().max()) > 0 for name, w in weights.items() if "lora_B" in name)
    engine = LocalEngine.load(final)
    assert isinstance(engine, ChoosingEngine)
    here = engine.choose(choices)
    assert all(sum(torch.tensor(row).exp()) == pytest.approx(1) for row in here)
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); from test_verifier_job import make_choices\n"
        "import torch; torch.set_num_threads(1)\n"
        "from thinktwice.engines.local import LocalEngine\n"
        "print(LocalEngine.load(sys.argv[1]).choose(make_choices(4, seed=9)))"
    )
    tests = str(tmp_path.__class__(__file__).parent)
    words = [sys.executable, "-W", "ignore", "-c", script, str(final), tests]
    there = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert there.splitlines()[-1] == str(here)
    assert told[0].both_orders == 1.0
    assert not (final.parent / "checkpoints").exists()


def test_the_engine_answers_as_the_trained_weights_do(train, make_base, tmp_path):
    choices = make_choices(4, seed=9)
    engine = LocalEngine.load(train())
    plain = LocalEngine.load(tmp_path / "base")
    assert engine.choose(choices) != plain.choose(choices)  # a plain model chooses too, as it is
    alone = [replace(choice, moves=()) for choice in choices]
    assert engine.choose(alone) != engine.choose(choices)
    prompt = [[20, 30, 40]]
    written = engine.generate(prompt, Sampling(max_new_tokens=4))
    assert written == plain.generate(prompt, Sampling(max_new_tokens=4))  # it writes with the base
    one_by_one = [engine.choose([choice])[0] for choice in choices]
    for row, other in zip(engine.choose(choices), one_by_one, strict=True):
        assert row == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("arguer", ["frozen", "tied"])
def test_an_arguer_without_an_adapter_of_its_own(train, arguer):
    final = train(settings=replace(SETTINGS, arguer=arguer))
    assert [path.name for path in final.iterdir() if path.is_dir()] == ["chooser"]
    engine = LocalEngine.load(final)
    choices = make_choices(3, seed=5)
    read = engine.choose(choices)
    assert read != engine.choose([replace(choice, moves=()) for choice in choices])
    record = json.loads((final / "verifier.json").read_text())
    (final / "verifier.json").write_text(json.dumps({**record, "arguer": {"frozen": "tied", "tied": "frozen"}[arguer]}))
    assert LocalEngine.load(final).choose(choices) != read


def test_the_text_arm_has_a_chooser_only_and_takes_no_moves(train):
    alone = [replace(choice, moves=()) for choice in make_choices(12)]
    final = train(choices=alone)
    assert [path.name for path in final.iterdir() if path.is_dir()] == ["chooser"]
    engine = LocalEngine.load(final)
    engine.choose(alone[:2])
    with pytest.raises(DataError, match="without moves"):
        engine.choose(make_choices(1))


def test_layers_and_parts_come_back_with_the_verifier(train):
    settings = replace(SETTINGS, transplant_layers=(1,), transplant_parts="v")
    final = train(settings=settings)
    choices = make_choices(3, seed=5)
    read = LocalEngine.load(final).choose(choices)
    record = json.loads((final / "verifier.json").read_text())
    (final / "verifier.json").write_text(json.dumps({**record, "layers": [], "parts": "kv"}))
    assert LocalEngine.load(final).choose(choices) != read


class Killed(Exception):
    pass


def test_killed_and_called_again_it_ends_with_the_same_weights(train, tmp_path):
    settings = replace(SETTINGS, save_every=2, eval_every=3, early_stopping=9, lora_dropout=0.2)
    dev = make_choices(3, seed=4)
    whole = train("whole", settings, dev=dev)

    def kill(report):
        if report.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train("killed", settings, dev=dev, progress=kill)
    again = train("killed", settings, dev=dev)
    for name in ("arguer", "chooser"):
        one, two = (load_file(folder / name / "adapter_model.safetensors") for folder in (whole, again))
        assert all(torch.equal(one[key], two[key]) for key in one)
    lines = [(folder.parent / "metrics.jsonl").read_text().splitlines() for folder in (whole, again)]
    losses = [[(row["step"], row["loss"], row["dev_loss"]) for row in map(json.loads, each)] for each in lines]
    assert losses[0] == losses[1]
    assert train("whole", settings, dev=dev) == whole  # already there
    with pytest.raises(TrainError, match="trained with something else"):
        train("whole", replace(settings, arguer="tied"), dev=dev)


def test_the_weights_that_were_best_on_dev_are_kept(train, tmp_path):
    settings = replace(SETTINGS, eval_every=1, early_stopping=99, steps=8, lr=0.3)  # too fast: it gets worse again
    final = train(settings=settings, dev=make_choices(4, seed=4))
    rows = list(map(json.loads, (final.parent / "metrics.jsonl").read_text().splitlines()))
    best = min(rows, key=lambda row: row["dev_loss"])
    result = json.loads((final / "training.json").read_text())["result"]
    assert (result["best_step"], result["dev_loss"]) == (best["step"], best["dev_loss"])
    assert best["step"] < 8
    assert all(0 <= row["eval_acc"] <= 1 for row in rows)
    state = json.loads((final.parent / "trainer_state.json").read_text())
    assert [row["eval_acc"] for row in state["log_history"] if "eval_acc" in row] == [row["eval_acc"] for row in rows]
    dev = make_choices(4, seed=4)
    logprobs = LocalEngine.load(final).choose(dev)
    loss = -sum(row[choice.right] for row, choice in zip(logprobs, dev, strict=True)) / len(dev)
    assert loss == pytest.approx(best["dev_loss"], abs=1e-4)


def test_both_orders_of_an_item_stand_in_one_batch():
    choices = make_choices(10)
    random.Random(1).shuffle(choices)
    settings = replace(SETTINGS, batch_size=6, grad_accumulation=3)
    seen = []
    source = ChoiceSteps(choices, settings, lambda part: seen.append(part) or part)
    steps = [batches for _, (batches, _) in zip(range(4), source.steps(), strict=False)]
    assert sorted(len(step) for step in steps) == [1, 3, 3, 3]
    for part in seen:
        assert [len(orders) for orders in group_orders(part)] == [2]
        assert {choice.right for choice in part} == {0, 1}
    assert len({choice.problem_id for part in seen for choice in part}) == len(seen) == 10
    by_tokens = ChoiceSteps(choices, replace(settings, tokens_per_step=150, grad_accumulation=1), list)
    for step in by_tokens._plan(0):
        read = sum(len(c.token_ids) for item in step for c in item) + sum(
            len(t) for item in step for t in item[0].argued
        )
        assert read <= 150


def test_items_of_one_problem_are_told_apart():
    first, second = make_choices(2)[0], make_choices(2)[2]
    assert len(group_orders([first, replace(second, problem_id=first.problem_id)])) == 2
    assert len(group_orders([replace(first, problem_id=""), replace(first, problem_id="", argued=())])) == 2


def test_the_audit_says_what_is_learned_before_it_is(train, tmp_path):
    choices = make_choices(6)
    twins = replace(choices[0], argued=(choices[0].argued[0],) * 2, problem_id="twins", same_text=False)
    twins = replace(twins, moves=tuple(replace(move, source=0, start=1, n=2) for move in choices[0].moves))
    one_sided = [*choices[::2], choices[0], twins]
    told = []
    train(choices=one_sided, on_audit=told.append)
    facts = told[0]
    assert (facts.n, facts.items, facts.slots, facts.repeated, facts.identical, facts.foreign) == (
        8,
        7,
        (8, 0),
        1,
        1,
        1,
    )
    text = "\n".join(facts.lines())
    assert "a constant would get 100.0% right" in text
    assert "between identical candidates" in text
    moved = sum(move.n for choice in one_sided for move in choice.moves)
    assert facts.moved_share == pytest.approx(moved / sum(len(choice.token_ids) for choice in one_sided))
    assert json.loads((tmp_path / "out/audit.json").read_text())["n"] == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"right": None}, "does not say which option is right"),
        ({"token_ids": (20,) * 300, "moves": ()}, "300 tokens, 256 are allowed"),
        ({"options": (7, 400)}, "beyond the model's 320 rows"),
        ({"token_ids": (20,) * 20}, "must spell the same span"),
    ],
)
def test_a_choice_that_cannot_be_learned_stops_before_step_1(train, tmp_path, change, words):
    choices = make_choices(4)
    with pytest.raises(DataError, match="problem '0-1'") as error:
        train(choices=[*choices[:2], replace(choices[2], **change), *choices[3:]])
    assert words in str(error.value)
    assert not (tmp_path / "out/metrics.jsonl").exists()


def test_long_choices_are_dropped_where_the_recipe_says_so(train):
    choices = make_choices(6)
    told = []
    settings = replace(SETTINGS, overflow="drop", max_length=16)
    train(choices=choices, settings=settings, on_audit=told.append)
    assert told[0].n < 12
    assert len(told[0].dropped) == 12 - told[0].n
    assert told[0].length_max <= 16
    with pytest.raises(TrainError, match="none is left"):
        train("none", choices=choices, settings=replace(settings, max_length=5))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "full"}, ConfigError, "adapters on one base"),
        ({"mode": "lora", "backend": "trl"}, ConfigError, "set training.backend=loop"),
        ({"mode": "qlora"}, ModelError, "training.mode=qlora needs"),
        ({"mode": "lora", "transplant_layers": (5,)}, ConfigError, "Layers [5] are not among"),
        ({"mode": "lora", "packing": True}, TrainError, "choices are padded"),
    ],
)
def test_settings_that_make_no_verifier_are_refused(train, options, error, words):
    with pytest.raises(error) as raised:
        train(settings=Training(**{"steps": 1, **options}))
    assert words in str(raised.value)


def test_choices_and_examples_do_not_mix(train):
    example = Example((5, 6), (6, 2), (1.0, 1.0))
    with pytest.raises(DataError, match="are choices"):
        train(choices=[*make_choices(1), example])
    with pytest.raises(DataError, match="same sort"):
        train(dev=[example])


def test_a_verifier_cannot_be_merged(train, tmp_path):
    with pytest.raises(ModelError, match="which no plain model can hold"):
        merge(train(), tmp_path / "merged")


def test_settings_of_verifiers_leave_other_trainings_as_they_were():
    plain = Training()
    assert plain.fingerprint() == replace(plain).fingerprint()
    for name, value in (
        ("arguer", "tied"),
        ("transplant_layers", (0,)),
        ("transplant_parts", "k"),
        ("loss_over", "vocabulary"),
    ):
        assert name in VERIFIER
        assert replace(plain, **{name: value}).fingerprint() != plain.fingerprint()
