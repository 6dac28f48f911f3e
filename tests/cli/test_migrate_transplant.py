"""Each row of the migration table of the seed's scripts: it parses, and what it builds differs as it says."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from thinktwice.cli.migrate import _yaml
from thinktwice.cli.migrate.command import Flag
from thinktwice.cli.migrate.transplant import FLAGS
from thinktwice.cli.migrate.transplant_recipe import migrate_transplant
from thinktwice.config import Recipe, load, parse
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.methods.transplant.job import LILA, Job
from thinktwice.train.settings import Training


def built(script: str, words: list[str], place: Path, **options: Any) -> dict[str, Any]:
    """Return what a command line comes to, read back as the command that it names reads it."""
    made = migrate_transplant([f"{script}.py", *words], **options)
    place.write_text(_yaml(made.tree, list(made.notes)), encoding="utf-8")
    found: dict[str, Any] = {"notes": " ".join(made.notes), "command": made.command}
    if script == "datagen-main":
        return {**found, "job": load(Job, place)}
    recipe = load(Recipe, place)
    spec = recipe.method_of("transplant")
    for name in recipe.arms:
        build_method(recipe.method_of(name).name, recipe.method_of(name).options)
        parse(Training, {**recipe.train, **recipe.arms[name].train}, name)
    return {
        **found,
        "recipe": recipe,
        "method": build_method(spec.name, spec.options),
        "train": parse(Training, recipe.train, "train"),
    }


def look(found: dict[str, Any], path: str) -> Any:
    step = lambda value, name: value[name] if isinstance(value, dict) else getattr(value, name)  # noqa: E731
    return reduce(step, path.split("."), found)


# script, the row's words, options, what is looked at, without them, with them
CASES: list[tuple[str, list[str], dict[str, Any], str, Any, Any]] = [
    ("main", ["--base_model", "my/llama"], {}, "recipe.model.path", "decapoda-research/llama-7b-hf", "my/llama"),
    ("main", ["--load_in_8bit", "false"], {}, "train.mode", "qlora", "lora"),
    ("main", ["--load_in_4bit"], {}, "train.bits", 8, 4),
    ("main", ["--torch_dtype", "float16"], {}, "recipe.model.dtype", "bfloat16", "float16"),
    ("main", ["--lora_rank", "64"], {}, "train.lora_rank", 16, 64),
    ("main", ["--lora_rank", "64"], {}, "recipe.arms.text.train.lora_rank", 32, 128),
    ("main", ["--lora_alpha", "32"], {}, "train.lora_alpha", 16, 32),
    ("main", ["--lora_dropout", "0"], {}, "train.lora_dropout", 0.05, 0.0),
    ("main", ["--target_modules", "q_proj, v_proj"], {}, "train.lora_targets", (*"qkvo",), ("q_proj", "v_proj")),
    ("main", ["--lr", "1e-5"], {}, "train.lr", 3e-4, 1e-5),
    ("main", ["--beta1", "0.8"], {}, "train.betas", (0.9, 0.999), (0.8, 0.999)),
    ("main", ["--beta2", "0.95"], {}, "train.betas", (0.9, 0.999), (0.9, 0.95)),
    ("main", ["--weight_decay", "0.1"], {}, "train.weight_decay", 0.0, 0.1),
    ("main", ["--BATCH_SZ", "64"], {}, "train.batch_size", 256, 128),
    ("main", ["--BATCH_SZ", "64"], {}, "train.lr", 3e-4, 1.5e-4),  # theirs scales it
    ("main", ["--SUBBATCH_SZ", "8"], {}, "train.grad_accumulation", 64, 16),
    ("main", ["--TEST_INTERVAL", "128"], {}, "train.eval_every", 1, 2),
    ("main", ["--TEST_BATCH_SZ", "8"], {}, "recipe.decode.batch_size", 64, 8),
    ("main", ["--epochs", "3"], {}, "train.epochs", 10, 3),
    ("main", ["--seed", "5"], {}, "recipe.seed", 1, 5),
    ("main", ["--INPUT_DIR", "d"], {}, "method.posing.file", "data/dataset.csv", "d/dataset.csv"),
    ("main", ["--INPUT_DIR", "data/masked"], {}, "method.argument", "none", "masked"),
    ("main", ["--INPUT_DIR", "data/masked"], {"compat": True}, "method.argument", "plain", "seed"),
    ("datagen-main", ["--model", "m"], {}, "job.writer.model", "text-davinci-003", "m"),
    ("datagen-main", ["--temperature", "0.7"], {}, "job.sampling.temperature", 0.0, 0.7),
    ("datagen-main", ["--top_p", "0.9"], {}, "job.sampling.top_p", 1.0, 0.9),
    ("datagen-main", ["--max_tokens", "99"], {}, "job.sampling.max_new_tokens", 512, 99),
    (
        "datagen-main",
        ["--DATASET_NAMES", "singleq.json,addsub"],
        {},
        "command",
        "argue lila ",
        "argue singleeq,addsub ",
    ),
    ("datagen-main", ["--OUTPUT_DIR", "o"], {}, "command", "data/unmasked/dataset.jsonl", "--out o/dataset.jsonl"),
    ("datagen-main", ["--OUTPUT_FILE", "x.csv"], {}, "command", "dataset.jsonl", "x.jsonl"),
]


@pytest.mark.parametrize(("script", "words", "options", "path", "without", "given"), CASES)
def test_a_row_changes_what_it_says(
    script: str, words: list[str], options: dict[str, Any], path: str, without: Any, given: Any, tmp_path: Path
) -> None:
    before = look(built(script, [], tmp_path / "a.yaml", **options), path)
    after = look(built(script, words, tmp_path / "b.yaml", **options), path)
    if path == "command":
        assert without in before
        assert given in after
    elif path == "train.lora_targets":
        assert (before, after) == (("q_proj", "k_proj", "v_proj", "o_proj"), given)
    else:
        assert (before, after) == (without, given)


def test_every_row_is_translated_refused_or_said() -> None:
    tried = {(script, words[0].removeprefix("--")) for script, words, *_ in CASES}
    for flag in FLAGS:
        for script in flag.scripts:
            if (script, flag.key) not in tried:
                assert flag.refused or flag.differs, flag.key


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.refused], ids=lambda flag: flag.key)
def test_what_cannot_be_had_is_refused_unless_it_changes_nothing(flag: Flag, tmp_path: Path) -> None:
    (script,) = flag.scripts
    value = "7" if flag.kind in (int, float) else "secret-word"
    with pytest.raises(ConfigError) as error:
        migrate_transplant([f"{script}.py", f"--{flag.key}", value])
    assert flag.refused in str(error.value)
    assert "secret-word" not in str(error.value) or not flag.secret
    for harmless in flag.harmless:
        built(script, [f"--{flag.key}={harmless}"], tmp_path / "x.yaml")


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.differs and not f.refused], ids=lambda flag: flag.key)
def test_what_differs_is_said_when_it_is_given(flag: Flag) -> None:
    (script,) = flag.scripts
    value = {int: "4", float: "0.5", bool: "true"}.get(flag.kind, "addsub")  # type: ignore[arg-type]
    made = migrate_transplant([f"{script}.py", f"--{flag.key}", value])
    assert any(flag.differs in note for note in made.notes)


def test_compat_is_the_seed_and_the_controls_have_its_budget(tmp_path: Path) -> None:
    found = built("main", [], tmp_path / "a.yaml", compat=True)
    train, recipe = found["train"], found["recipe"]
    assert (train.arguer, train.loss_over, train.schedule, train.max_grad_norm) == ("tied", "vocabulary", "constant", 0)
    assert (found["method"].rows, found["method"].argument) == ("shifted", "plain")
    assert recipe.arms["text"].train == {}  # a tied adapter is one already
    assert "n-grams" in found["notes"]
    assert "--compat" not in found["notes"]
    assert set(built("main", [], tmp_path / "b.yaml", controls=False)["recipe"].arms) == {"transplant"}
    job = built("datagen-main", [], tmp_path / "c.yaml")["job"]
    assert (job.arguing.mode, job.arguing.choice, job.arguing.base) == ("roles", True, True)
    assert len(LILA) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["main.py", "--SUBBATCH_SZ", "256"], "must be 1 to"),
        (["main.py", "--learning_rate", "1"], "has no flag --learning_rate"),
        (["datagen-main.py", "--DATASET_NAMES", "math"], "none of the seed's subsets"),
        (["datagen-main.py", "--lr", "1"], "It is a flag of main"),
        (["train.py"], "name the script"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        migrate_transplant(words)
