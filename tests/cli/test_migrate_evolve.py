"""Each row of the migration table of the public ELITE code: it parses, and what it builds differs as it says."""

import shlex
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from thinktwice import cli
from thinktwice.cli.migrate import _yaml
from thinktwice.cli.migrate.command import Flag
from thinktwice.cli.migrate.evolve import FLAGS
from thinktwice.cli.migrate.evolve_recipe import migrate_evolve
from thinktwice.config import Recipe, load, parse
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.train.settings import Training

DATA = Path(__file__).parents[2] / "../shared/data/natural_instructions_v1"


def built(script: str, words: list[str], place: Path, **options: Any) -> dict[str, Any]:
    """Return what a command line comes to, read back as the command that it names reads it."""
    made = migrate_evolve([f"{script}.py", *words], **options)
    found: dict[str, Any] = {"notes": " ".join(made.notes), "command": made.command}
    if not made.tree:
        return found
    place.write_text(_yaml(made.tree, list(made.notes)), encoding="utf-8")
    recipe = load(Recipe, place)
    found["method"], found["train"] = {}, {}
    for name, arm in recipe.arms.items():
        spec = recipe.method_of(name)
        found["method"][name] = build_method(spec.name, spec.options)
        found["train"][name] = parse(Training, {**recipe.train, **arm.train}, name)
    return {**found, "recipe": recipe}


def look(found: dict[str, Any], path: str) -> Any:
    step = lambda value, name: value[name] if isinstance(value, dict) else getattr(value, name)  # noqa: E731
    return reduce(step, path.split("."), found)


# script, the row's words, options, what is looked at, without them, with them
CASES: list[tuple[str, list[str], dict[str, Any], str, Any, Any]] = [
    ("main", ["--cur_iteration", "4"], {}, "method.evolve.rounds", 1, 5),
    ("main", ["--iteration_amount=3"], {}, "method.evolve.rounds", 1, 3),
    ("main", ["--iteration_amount=3"], {}, "method.evolve.critiques", 5, 8),
    ("main", ["--iteration_amount=3", "--num_return_seq=5"], {}, "method.evolve.critiques", 5, 5),
    ("main", ["--num_return_seq", "1"], {}, "method.evolve.critiques", 5, 1),
    ("main", ["--enable_prompt_optimization", "0"], {}, "method.evolve.exemplars", "clustered", "human"),
    ("main", ["--enable_prompt_optimization", "0"], {"compat": True}, "method.evolve.exemplars", "none", "human"),
    ("main", ["--clusters", "3"], {}, "method.evolve.shots", 2, 3),
    ("main", ["--enable_prompt_optimization=0", "--pos_example_amount=1"], {}, "method.evolve.shots", 2, 1),
    (
        "main",
        ["--enable_prompt_optimization=0", "--pos_example_amount=0"],
        {},
        "method.evolve.exemplars",
        "clustered",
        "none",
    ),
    (
        "main",
        ["--enable_initial_human_examples=0", "--enable_prompt_optimization=0"],
        {},
        "method.evolve.exemplars",
        "clustered",
        "none",
    ),
    (
        "main",
        ["--enable_mismatch_initial_human_examples", "1"],
        {},
        "method.evolve.exemplars",
        "clustered",
        "mismatched",
    ),
    ("main", ["--model_path", "my/7b"], {}, "recipe.model.path", "/home/qianxi/scratch/laffi/models/7b", "my/7b"),
    ("sft", ["--model_path", "my/7b"], {}, "recipe.model.path", "/home/qianxi/scratch/laffi/models/7b", "my/7b"),
    (
        "main",
        ["--base_dataset_path", "ni/train"],
        {},
        "recipe.task.options.path",
        "/home/qianxi/scratch/laffi/datasets/natural_instruction_v1",
        "ni",
    ),
    ("main", ["--eval_inference_batch_size", "1"], {}, "recipe.decode.batch_size", 4, 1),
    ("main", ["--experiment_root_path", "out/7b"], {}, "recipe.name", "elite", "elite-7b"),
    ("sft", ["--experiment_root_path", "out/sft/7b"], {}, "recipe.name", "elite-sft", "elite-sft-7b"),
    ("main", ["--experiment_name", "five"], {}, "recipe.name", "elite", "elite-five"),
    ("main", ["--wandb_enabled", "1"], {}, "recipe.report_to", (), ("wandb",)),
    ("compose_eval_data", ["--limit", "30"], {}, "command", "--rows-per-task 20 ", "--rows-per-task 30 "),
    ("compose_sft_dataset", ["--limit", "30"], {}, "command", "--rows-per-task 50 ", "--rows-per-task 30 "),
    ("compose_sft_dataset", ["--output_path", "o.json"], {}, "command", "natural_ins_train_50.jsonl", "--out o.jsonl"),
    ("compose_eval_data", ["--base_root", "d/eval"], {}, "command", "=data/natural", "=d/eval --split test"),
    ("compose_sft_dataset", ["--base_root", "d/train"], {}, "command", "=data/natural", "=d --split train"),
    ("main", ["--enable_boolq_eval", "1"], {}, "notes", "", "--tasks thinktwice_boolq"),
    ("main", ["--enable_squad_eval", "1"], {}, "notes", "", "--tasks thinktwice_squad"),
    ("main", ["--enable_gsm8k_eval", "1"], {}, "notes", "", "--tasks thinktwice_gsm8k"),
]


@pytest.mark.parametrize(("script", "words", "options", "path", "without", "given"), CASES)
def test_a_row_changes_what_it_says(
    script: str, words: list[str], options: dict[str, Any], path: str, without: Any, given: Any, tmp_path: Path
) -> None:
    before = look(built(script, [], tmp_path / "a.yaml", **options), path)
    after = look(built(script, words, tmp_path / "b.yaml", **options), path)
    if path in ("command", "notes"):
        assert without in before
        assert given in after
        assert given not in before
    else:
        assert (before, after) == (without, given)


def test_rows_of_a_task_count_in_every_round(tmp_path: Path) -> None:
    """The tasks in the directory are counted; where there is none the recipe says what to set."""
    for name in ("train/a", "train/b", "train/c", "test/d"):
        file = tmp_path / f"ni/{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    words = ["--per_task_data_rows", "30", "--cur_iteration", "19"]
    for data in (tmp_path / "ni", tmp_path / "ni/train"):
        found = built("main", words, tmp_path / "a.yaml", data=str(data))
        assert found["method"]["evolve"].problems == 90
        assert look(found, "recipe.task.options.path") == str(tmp_path / "ni")
        assert look(found, "recipe.task.options.per_task") >= 30 * 20
        assert "could not be counted" not in found["notes"]
        assert "must have folders" not in found["notes"]
    nowhere = built("main", words, tmp_path / "b.yaml", data=str(tmp_path / "nowhere"))
    assert "set method.problems to 30 times their number" in nowhere["notes"]
    assert "must have folders train and test" in nowhere["notes"]


def test_every_row_is_translated_refused_or_said() -> None:
    tried = {(script, word.removeprefix("--").partition("=")[0]) for script, words, *_ in CASES for word in words}
    tried |= {
        ("main", "per_task_data_rows"),
        ("main", "baseline_only"),
        ("sft", "baseline_only"),
    }  # tested above and below
    for flag in FLAGS:
        for script in flag.scripts:
            if (script, flag.key) not in tried:
                assert flag.refused or flag.differs, flag.key


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.refused], ids=lambda flag: flag.key)
def test_what_cannot_be_had_is_refused_unless_it_changes_nothing(flag: Flag, tmp_path: Path) -> None:
    (script,) = flag.scripts
    with pytest.raises(ConfigError) as error:
        migrate_evolve([f"{script}.py", f"--{flag.key}", "7"])
    assert flag.refused in str(error.value)
    for harmless in flag.harmless:
        built(script, [f"--{flag.key}={harmless}"], tmp_path / "x.yaml")


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.differs and not f.refused], ids=lambda flag: flag.key)
def test_what_differs_is_said_when_it_is_given(flag: Flag) -> None:
    value = {int: "4", float: "0.5", bool: "true"}.get(flag.kind, "some/where")  # type: ignore[arg-type]
    for script in flag.scripts:
        made = migrate_evolve([f"{script}.py", f"--{flag.key}", value])
        assert any(flag.differs in note for note in made.notes)


def test_what_elite_means_is_the_recipe_and_what_it_does_is_an_arm(tmp_path: Path) -> None:
    found = built("main", [], tmp_path / "a.yaml")
    method, train = found["method"], found["train"]["evolve"]
    evolve = method["evolve"]
    assert (evolve.objectives.feedback, evolve.objectives.answer, evolve.objectives.prompt) == (1, 0, 0)
    assert (evolve.vote, evolve.weights, evolve.guards.on, evolve.gold_visible) == ("verdict", "restart", True, "none")
    assert (train.mode, train.bits, train.lora_rank, train.lora_alpha, train.lr) == ("qlora", 4, 16, 8, 1e-3)
    assert len(train.lora_targets) == 7
    assert set(method) == {"evolve", "base", "shuffled", "verdict_only", "sft_gold", "own_prompts", "guards_off"}
    assert (method["own_prompts"].objectives.feedback, method["own_prompts"].objectives.prompt) == (0, 1)
    assert (method["own_prompts"].accept, method["own_prompts"].source) == ("all", "none")
    assert method["shuffled"].source == "shuffled"
    assert not method["verdict_only"].content
    assert (method["sft_gold"].accept, method["sft_gold"].objectives.answer) == ("reference", 1)
    assert not method["guards_off"].guards.on
    assert {arm.problems for name, arm in method.items() if name != "base"} == {evolve.problems}  # equal budgets
    assert set(found["train"].values()) == {train}
    headline = found["recipe"].headline
    assert (headline.a, headline.b) == ("evolve", "shuffled")
    assert set(built("main", [], tmp_path / "b.yaml", controls=False)["method"]) == {"evolve"}


def test_compat_is_what_the_public_code_does(tmp_path: Path) -> None:
    found = built("main", [], tmp_path / "a.yaml", compat=True)
    evolve, meant = found["method"]["evolve"], found["method"]["meant"]
    assert (evolve.vote, evolve.weights, evolve.accept, evolve.guards.on) == ("medoid", "ties", "all", False)
    assert (evolve.objectives.feedback, evolve.objectives.answer, evolve.objectives.prompt) == (0, 0, 1)
    assert evolve.exemplars == "none"
    assert (meant.vote, meant.weights, meant.accept, meant.guards.on) == ("verdict", "restart", "verdict", True)
    assert (meant.objectives.feedback, meant.objectives.prompt) == (1, 0)
    assert (found["recipe"].headline.a, found["recipe"].headline.b) == ("meant", "evolve")
    assert "--compat" not in found["notes"]


def test_sft_is_a_training_on_gold_answers(tmp_path: Path) -> None:
    found = built("sft", [], tmp_path / "a.yaml")
    train = found["train"]["sft"]
    assert (train.lr, train.epochs, train.batch_size, train.max_grad_norm) == (5e-5, 3, 2, 0.3)
    assert (train.warmup_steps, train.schedule) == (0, "constant")
    assert look(found, "recipe.task.options.per_task") == 50
    assert set(found["method"]) == {"base", "sft"}
    assert set(built("sft", ["--baseline_only=1"], tmp_path / "b.yaml")["method"]) == {"base"}
    assert set(built("main", ["--baseline_only=1"], tmp_path / "c.yaml")["method"]) == {"base"}


def test_a_submit_script_is_read_and_no_key_of_it_is_shown(tmp_path: Path) -> None:
    script = tmp_path / "submit_job_3b.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH --mem=32G\nwandb offline;\nexport WANDB_API_KEY=not-a-real-key;\n\n"
        'CUDA_VISIBLE_DEVICES=0,1 python /code/main.py \\\n   --base_dataset_path="/ni/train" \\\n'
        "   --enable_boolq_eval=1 \\\n   --per_task_data_rows=25 --wandb_enabled=0 \\\n"
        '   --experiment_root_path="/results/3b" --model_path="/models/llama_1_3b" --iteration_amount=3\n'
    )
    made = migrate_evolve([str(script)])
    assert made.tree["name"] == "elite-3b"
    assert made.tree["method"]["rounds"] == 3
    assert "report_to" not in made.tree
    assert "not-a-real-key" not in _yaml(made.tree, list(made.notes))
    script.write_text("python main.py --cur_iteration=$2\n")
    with pytest.raises(ConfigError, match="whole number"):
        migrate_evolve([str(script)])


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
@pytest.mark.parametrize("script", ["compose_eval_data", "compose_sft_dataset"])
def test_the_command_that_is_named_does_it(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, files in (("train", sorted(DATA.glob("*.json"))[:2]), ("test", sorted(DATA.glob("*.json"))[2:3])):
        (tmp_path / split).mkdir()
        for file in files:
            (tmp_path / split / file.name).symlink_to(file.resolve())
    folder = "test" if script == "compose_eval_data" else "train"
    made = migrate_evolve([f"{script}.py", "--base_root", str(tmp_path / folder), "--limit", "5"])
    assert not made.tree
    words = shlex.split(made.command)
    words[-1] = str(tmp_path / words[-1])
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert len(Path(words[-1]).read_text().splitlines()) == 5 * len(list((tmp_path / folder).iterdir()))
    assert "rows: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["main.py", "--num_return_seq", "0"], "must be at least 1"),
        (["main.py", "--iteration_amount", "2", "--cur_iteration", "1"], "of two versions"),
        (["main.py", "--learning_rate", "1"], "has no flag --learning_rate"),
        (["sft.py", "--clusters", "2"], "It is a flag of main"),
        (["eval_boolq.py"], "name the script"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        migrate_evolve(words)
