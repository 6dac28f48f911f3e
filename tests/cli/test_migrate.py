"""Each row of the migration table: the flag parses, and what it builds differs as the table says."""

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from thinktwice.cli import build
from thinktwice.cli.migrate.command import Flag
from thinktwice.cli.migrate.planning import FLAGS
from thinktwice.cli.migrate.recipe import migrate_planning
from thinktwice.config import Recipe, load, parse
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.methods.planning import Planning
from thinktwice.methods.planning.agent import Job
from thinktwice.tasks import _loader
from thinktwice.train.settings import Training


@dataclass(frozen=True)
class Built:
    """What a command line comes to, built as `thinktwice run` builds it."""

    recipe: Recipe
    arms: dict[str, Any]
    training: Training
    notes: str

    @property
    def method(self) -> Planning:
        """The arm of the command line itself: the last."""
        found = list(self.arms.values())[-1]
        assert isinstance(found, Planning)
        return found

    @property
    def tokens(self) -> int:
        return len(self.method.control_tokens)

    @property
    def types(self) -> int:
        return len(self.method.types)

    @property
    def trains(self) -> bool:
        return list(self.recipe.arms.values())[-1].trains

    @property
    def control_trains(self) -> bool:
        return self.recipe.arms["none"].trains

    @property
    def alpaca(self) -> bool:
        return "### Response" in str(self.recipe.model.template)


def built(words: Sequence[str], place: Path, **options: Any) -> Built:
    """Write the recipe as the command does, and read it back strictly."""
    from thinktwice.cli.migrate import _yaml

    made = migrate_planning(words, **options)
    place.write_text(_yaml(made.tree, list(made.notes)), encoding="utf-8")
    recipe = load(Recipe, place)
    known = inspect.signature(_loader(recipe.task.name)).parameters
    assert set(recipe.task.options) <= set(known) or any(p.kind is p.VAR_KEYWORD for p in known.values())
    arms = {name: build_method(*_spec(recipe, name)) for name in recipe.arms}
    return Built(recipe, arms, parse(Training, recipe.train, "train"), " ".join(made.notes))


def _spec(recipe: Recipe, name: str) -> tuple[str, dict[str, Any]]:
    spec = recipe.method_of(name)
    return spec.name, spec.options


TYPED = ["--add_soft_prompts", "True", "--extract_step_type_tokens", "k-means"]
LORA = ["--parameter_efficient_mode", "lora+prompt-tuning"]
MODE = ["--parameter_efficient_mode"]
WARM = ["--warmup_steps", "9"]
EPOCHS = ["--evaluation_strategy", "epoch"]

# script, flags beside, the row's flag, what is looked at, without the flag, with it
Case = tuple[str, list[str], list[str], str, Any, Any]
LLAMA = "meta-llama/Llama-2-7b-hf"
CASES: list[Case] = [
    ("train", TYPED[2:], ["--add_soft_prompts", "True"], "tokens", 0, 3 + 3 * 7),
    ("eval", TYPED[2:], ["--add_soft_prompts", "True"], "tokens", 0, 5 + 1 * 7),
    ("both", TYPED[2:], ["--add_hard_prompts"], "method.tags tokens", (False, 0), (True, 0)),
    ("train", TYPED, ["--num_general_prefix_tokens", "2"], "method.inventory.general", 3, 2),
    ("eval", TYPED, ["--num_general_prefix_tokens", "2"], "method.inventory.general", 5, 2),
    ("train", TYPED, ["--num_special_prefix_tokens", "4"], "method.inventory.special", 3, 4),
    ("eval", TYPED, ["--num_special_prefix_tokens", "4"], "method.inventory.special", 1, 4),
    ("train", TYPED, ["--num_special_prefix_tokens", "0"], "types method.tokens_of_a_block", (5, 6), (0, 3)),
    ("both", TYPED[:2], ["--extract_step_type_tokens", "vae"], "types", 0, 5),
    ("both", TYPED[:2], ["--extract_step_type_tokens", "k-means"], "types", 0, 5),
    ("both", TYPED[:2], ["--extract_step_type_tokens", "tf-idf"], "types", 0, 5),
    ("both", TYPED[:2], ["--extract_step_type_tokens", "+-*/"], "method.types", (), ("+", "-", "*", "/")),
    ("both", TYPED[:2], ["--extract_step_type_tokens", "memory"], "method.types", (), ("memory", "reason")),
    ("train", TYPED, ["--num_plan_types", "7"], "types", 5, 7),
    ("eval", TYPED, ["--num_plan_types", "7"], "types", 5, 7),
    ("train", TYPED, ["--num_types", "7"], "types", 5, 7),
    ("step_type", ["--selection_method", "tf-idf"], ["--num_types", "10"], "types", 50, 10),
    ("step_type", ["--num_types", "3"], ["--selection_method", "vae"], "types", None, 3),
    ("both", TYPED, ["--only_at_front"], "method.placement types", ("every_step", 5), ("only_at_front", 0)),
    ("both", TYPED, ["--plan_first", "True"], "method.placement", "every_step", "plan_first"),
    ("both", TYPED, ["--plan_only"], "method.placement", "every_step", "plan_only"),
    ("step_type", ["--selection_method", "vae"], ["--model_name_or_path", "gpt2"], "recipe.model.path", LLAMA, "gpt2"),
    ("train", [], ["--model_name_or_path", "gpt2"], "recipe.model.path", LLAMA, "gpt2"),
    ("eval", TYPED, ["--model_name_or_path", "DIR"], "recipe.model.path trains", (LLAMA, False), ("DIR", False)),
    ("train", TYPED, [*MODE, "lora"], "training.mode training.lora_new_rows", ("full", True), ("lora", False)),
    ("train", TYPED, LORA, "training.mode training.lora_new_rows", ("full", True), ("lora", True)),
    ("train", TYPED, [*MODE, "lora"], "training.lora_alpha training.lora_dropout", (32, 0.0), (16, 0.05)),
    ("train", TYPED, [*MODE, "prompt-tuning"], "training.mode", "full", "prompt-tuning"),
    ("train", TYPED, [*MODE, "prompt-tuning"], "control_trains", True, False),
    ("train", [], [*MODE, "prefix-tuning"], "training.mode", "full", "prefix-tuning"),
    ("train", [*MODE, "prefix-tuning"], ["--num_general_prefix_tokens", "5"], "training.prefix_tokens", 3, 5),
    ("train", LORA, ["--lora_module", "atten"], "training.lora_targets", ("mlp",), ("atten",)),
    ("train", LORA, ["--lora_module", "both"], "training.lora_targets", ("mlp",), ("mlp", "atten")),
    ("train", LORA, ["--int8_training", "True"], "training.mode training.bits", ("lora", 4), ("qlora", 8)),
    ("train", [], ["--load_in_16fp", "True"], "training.precision", "fp32", "fp16"),
    ("eval", [], ["--load_in_8bit", "True"], "recipe.model.dtype", "auto", "bfloat16"),
    ("both", [], ["--dataset", "math"], "recipe.task.name", "gsm8k", "math"),
    ("train", [], ["--dataset", "math"], "recipe.evaluation.problems", 1319, 5000),
    ("step_type", ["--selection_method", "vae"], ["--dataset", "aqua"], "recipe.task.name", "gsm8k", "aqua"),
    ("train", [], ["--mode", "constant_len"], "training.packing", False, True),
    ("train", EPOCHS, ["--num_test", "100"], "recipe.evaluation.num_test", 1000, 100),
    ("eval", [], ["--num_test", "100"], "recipe.evaluation.problems", 1000, 100),
    ("both", [], ["--prompt_template", "alpaca"], "alpaca", False, True),
    ("train", [], ["--model_max_length", "300"], "training.max_length training.overflow", (512, "drop"), (300, "drop")),
    ("train", [], ["--model_max_length", "300"], "recipe.decode.max_new_tokens", 512, 300),
    ("train", [], ["--num_train_epochs", "10"], "training.epochs", 3, 10),
    ("train", [], ["--max_steps", "50"], "training.steps", None, 50),
    ("train", [], ["--per_device_train_batch_size", "2"], "training.batch_size", 8, 2),
    ("train", [], ["--gradient_accumulation_steps", "16"], "training.batch_size", 8, 128),
    ("train", [], ["--gradient_accumulation_steps", "16"], "training.grad_accumulation", 1, 16),
    ("train", [], ["--per_device_eval_batch_size", "2"], "recipe.decode.batch_size", 8, 2),
    ("eval", [], ["--batch_size", "2"], "recipe.decode.batch_size", 16, 2),
    ("train", [], ["--learning_rate", "2e-4"], "training.lr", 5e-5, 2e-4),
    ("train", [], ["--weight_decay", "0.1"], "training.weight_decay", 0.0, 0.1),
    ("train", [], ["--adam_beta1", "0.8"], "training.betas", (0.9, 0.999), (0.8, 0.999)),
    ("train", [], ["--adam_beta2", "0.95"], "training.betas", (0.9, 0.999), (0.9, 0.95)),
    ("train", [], ["--max_grad_norm", "0.3"], "training.max_grad_norm", 1.0, 0.3),
    ("train", [], ["--lr_scheduler_type", "cosine"], "training.schedule", "linear", "cosine"),
    ("train", WARM, ["--lr_scheduler_type", "constant"], "training.schedule", "linear", "constant"),
    ("train", WARM, ["--lr_scheduler_type", "constant"], "training.warmup_steps", 9, 0),
    ("train", [], ["--warmup_steps", "1000"], "training.warmup_steps", 0, 1000),
    ("train", [], ["--optim", "adamw_hf"], "training.optimizer", "adamw", "adamw"),
    ("train", [], ["--fp16", "True"], "training.precision", "fp32", "fp16"),
    ("train", [], ["--bf16"], "training.precision", "fp32", "bf16"),
    ("train", [], ["--gradient_checkpointing"], "training.gradient_checkpointing", False, True),
    ("train", [], ["--seed", "7"], "recipe.seed", 42, 7),
    ("eval", [], ["--seed", "7"], "recipe.seed", 42, 7),
    ("train", [], EPOCHS, "training.eval_every recipe.evaluation.num_test", (0, 0), (872, 1000)),
    ("train", ["--eval-strategy=steps"], ["--eval_steps", "20"], "training.eval_every", 500, 20),
    ("train", [], ["--save_strategy", "no"], "training.save_every", 500, 0),
    ("train", [], ["--save_steps", "20"], "training.save_every", 500, 20),
    ("train", [], ["--logging_steps", "1"], "training.log_every", 500, 1),
    ("eval", [], ["--max_length", "1024"], "recipe.decode.max_new_tokens", 512, 1024),
]  # fmt: skip


ROOT = Path(__file__).parents[2]
FILES = {"train": "train.py", "eval": "eval.py", "step_type": "extract_step_type.py", "data_agent": "data_agent.py"}
EACH: list[Case] = [(s, *case[1:]) for case in CASES for s in (("train", "eval") if case[0] == "both" else case[:1])]


@pytest.mark.parametrize("case", EACH, ids=lambda c: " ".join([c[0], *c[2]]))
def test_a_translated_flag_changes_what_is_built(case: Case, tmp_path: Path) -> None:
    script, beside, flag, path, without, expected = case
    file = FILES[script]
    look = attrgetter(*path.split())
    assert look(built([file, *beside, *flag], tmp_path / "a.yaml")) == expected
    if flag[0] != "--selection_method":  # which the public script needs, too
        assert look(built([file, *beside], tmp_path / "b.yaml")) == without


def rows(wanted: Callable[[Flag], bool]) -> list[tuple[str, Flag]]:
    return [(script, flag) for flag in FLAGS for script in flag.scripts if wanted(flag)]


def test_every_translated_row_has_a_case() -> None:
    tested = {(case[0], word.lstrip("-").partition("=")[0].replace("-", "_")) for case in EACH for word in case[2]}
    for script, flag in rows(lambda f: bool(f.becomes)):
        if script == "data_agent":
            continue  # below
        assert {(script, name) for name in flag.names} & tested, (script, flag.names)


def value_of(flag: Flag) -> str:
    refused = [v for v in (flag.kind if isinstance(flag.kind, tuple) else ()) if v not in flag.harmless]
    return str(refused[0]) if refused else {bool: "True", int: "3", float: "0.5"}.get(flag.kind, "word")


@pytest.mark.parametrize(
    ("script", "flag"), rows(lambda f: bool(f.refused)), ids=lambda x: x if isinstance(x, str) else x.names[0]
)
def test_a_refused_flag_says_why_and_shows_no_key(script: str, flag: Flag) -> None:
    file = FILES[script]
    for name in flag.names:
        with pytest.raises(ConfigError) as caught:
            migrate_planning([file, f"--{name}", value_of(flag)])
        assert flag.refused in str(caught.value)
        assert not (flag.secret and value_of(flag) in str(caught.value))
        for harmless in (v for v in flag.harmless if not flag.becomes):
            beside = ["--selection_method", "vae"] if script == "step_type" else []
            migrate_planning([file, f"--{name}={harmless}", *beside])


@pytest.mark.parametrize(
    ("script", "flag"),
    rows(lambda f: bool(f.differs and not f.becomes and not f.refused)),
    ids=lambda x: x if isinstance(x, str) else x.names[0],
)
def test_a_dead_flag_is_noted_and_changes_nothing(script: str, flag: Flag, tmp_path: Path) -> None:
    file = FILES[script]
    beside = ["--selection_method", "vae"] if script == "step_type" else []
    plain = built([file, *beside], tmp_path / "a.yaml")
    for name in flag.names:
        given = built([file, *beside, f"--{name}", value_of(flag)], tmp_path / "b.yaml")
        assert flag.differs in given.notes
        assert flag.differs not in plain.notes
        assert given.recipe == plain.recipe


def test_every_row_says_something() -> None:
    for flag in FLAGS:
        assert flag.becomes or flag.differs or flag.refused, flag.names
        assert flag.scripts
        assert not flag.refused or flag.harmless


def test_the_data_agents_command_line_becomes_a_labelling_job() -> None:
    made = migrate_planning(["data_agent.py", "--dataset", "truthful_qa"], data="here")
    job = parse(Job, made.tree)
    assert job.task == {"train": 653, "dev": 0, "path": "here"}
    assert job.planner is not None
    assert job.planner.model == "gpt-4o"
    assert (job.labelling.order, job.labelling.attempts) == ("interleaved", 5)
    assert made.command.startswith("thinktwice label truthfulqa --config FILE --split train ")
    other = migrate_planning(["load_data/data_agent_order_modify_version.py", "--mode", "test"])
    strict = parse(Job, other.tree)
    assert (strict.labelling.order, strict.labelling.attempts) == ("memory_first", 20)
    assert other.command.startswith("thinktwice label strategyqa --config FILE --split test ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train.py", "--num_plan_typs", "3"], "train has no flag --num_plan_typs. Did you mean 'num_plan_types'?"),
        (["train.py", "--load_in_8bit"], "It is a flag of eval."),
        (["--dataset", "gsm8k"], "name the script that the command line runs: train.py, eval.py"),
        (["train.py", "--seed"], "--seed needs a value."),
        (["train.py", "--seed", "many"], "--seed is a whole number, got 'many'."),
        (["train.py", "--fp16", "maybe"], "--fp16 is True or False"),
        (["train.py", "--dataset", "gsm"], "Did you mean 'gsm8k'?"),
        (["train.py", "--fp16", "True", "hf_key"], "after --fp16 comes a word that is no --flag"),
        (["train.py", "--seed", "1", "--seed", "2"], "--seed is given twice"),
        (["train.py", "--int8_training"], "--int8_training is for LoRA"),
        (["train.py", "--parameter_efficient_mode", "prompt-tuning"], "add_soft_prompts is off"),
        (["train.py", "--plan_first", "--plan_only"], "exclude each other"),
        (["train.py", "--add_soft_prompts", "--add_hard_prompts"], "exclude each other"),
        (["train.py", "--fp16", "--bf16"], "exclude each other"),
        (["train.py", "--num_train_epochs", "1.5"], "passes are whole here"),
        (["extract_step_type.py"], "--selection_method names what is fitted"),
        (["nothing.sh"], "nothing.sh cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_sentence(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        migrate_planning(words)
    assert says in str(caught.value)
    assert "hf_key" not in str(caught.value)


def test_a_shell_file_is_read_with_its_variables_and_nothing_is_executed(tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    script.write_text(
        "MODEL=some/model\nN=6\ntouch executed\nCUDA_VISIBLE_DEVICES=7 python train.py \\\n"
        "    --model_name_or_path $MODEL \\\n    --add_soft_prompts True\\\n    --hf_hub_token ''\\\n"
        "    --num_general_prefix_tokens ${N} --num_special_prefix_tokens 0 \\\n    --output_dir ./$MODEL/x\\\n"
        '    --extract_step_type_tokens vae \\\n    # --fsdp "full_shard offload" \\\n',
        encoding="utf-8",
    )
    made = built([str(script), "--num_general_prefix_tokens=6"], tmp_path / "a.yaml")
    assert made.recipe.model.path == "some/model"
    assert made.method.tokens_of_a_block == 6
    assert not Path("executed").exists()


def test_the_controls_tell_meaning_from_filler(tmp_path: Path) -> None:
    made = built(["train.py", *TYPED], tmp_path / "a.yaml")
    assert list(made.arms) == ["none", "untyped", "shuffled", "typed"]
    assert made.recipe.headline is not None
    assert (made.recipe.headline.a, made.recipe.headline.b) == ("typed", "untyped")
    assert made.arms["untyped"].tokens_of_a_block == made.method.tokens_of_a_block == 6
    assert made.arms["shuffled"].shuffled
    assert list(built(["train.py", *TYPED], tmp_path / "b.yaml", controls=False).arms) == ["typed"]
    assert "never reaches its peak" in built(
        ["train.py", "--dataset", "truthfulqa_agent", "--per_device_train_batch_size", "16", "--num_train_epochs", "15",
         "--warmup_steps", "1000"],
        tmp_path / "c.yaml",
    ).notes  # fmt: skip
    assert built(["train.py"], tmp_path / "d.yaml", compat=True).recipe.task.options["compat"] is True


def test_the_command_writes_a_recipe_and_never_over_a_file(tmp_path: Path) -> None:
    out = tmp_path / "vae.yaml"
    words = ["migrate", "planning", "--out", str(out), "--", "train.py", *TYPED]
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == 0, done.output
    assert f"thinktwice run {out}" in done.stdout
    assert "no pickle is read" in done.stderr
    assert load(Recipe, out).arms["typed"].trained
    again = CliRunner().invoke(build(), words)
    assert isinstance(again.exception, ConfigError)
    plain = CliRunner().invoke(build(), ["migrate", "planning", "--", "train.py", *TYPED])
    assert plain.stdout.startswith("# --")
    other = CliRunner().invoke(build(), ["migrate", "plannin", "--", "train.py"])
    assert "Did you mean 'planning'?" in str(other.exception)


def documentation(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"docs_{name}_of_migration", ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_has_every_row() -> None:
    page = (ROOT / "docs/guides/planning.md").read_text(encoding="utf-8")
    assert "<!-- migration: planning -->" in page
    assert list(documentation("checks").findings(page)) == []
    table = documentation("hooks").migration("planning").splitlines()
    assert len(table) == len(FLAGS) + 2
    assert all(line.count(" | ") == 2 for line in table)
    row = next(line for line in table if "`--lora_module`" in line)
    assert "| train | `train.lora_targets`. It counts for every architecture;" in row
    token = next(line for line in table if "`--hf_hub_token`" in line)
    assert "| **Refused**: keys come from the environment only" in token
