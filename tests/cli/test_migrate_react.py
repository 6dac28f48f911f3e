"""Each row of the migration table of the public ReAct trainer: it parses, and what it builds differs as it says."""

import importlib.util
import inspect
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from thinktwice.cli import build
from thinktwice.cli.migrate import _yaml
from thinktwice.cli.migrate.command import Flag, Migrated
from thinktwice.cli.migrate.react import FLAGS, SCRIPTS
from thinktwice.cli.migrate.react_recipe import migrate_react
from thinktwice.config import Recipe, load, parse
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.methods.react import React
from thinktwice.methods.react.job import Job
from thinktwice.tasks import _loader
from thinktwice.train.settings import Training

ROOT = Path(__file__).parents[2]
LLAMA = "meta-llama/Llama-2-7b-chat-hf"
PLACES = {
    "traj_generator": [LLAMA, "data.json"],
    "traj_to_SFT_converter": [LLAMA, "out/trajectories.json"],
    "sft_trainer": [LLAMA, "SFTdata.csv"],
    "traj_to_DPO_converter": [LLAMA, "out/trajectories.json"],
    "dpo_trainer": [LLAMA, "araft_trained_sft", "DPOdata.csv"],
    "evaluator_hotpot": ["araft_trained_dpo", "eval.json"],
}


@dataclass(frozen=True)
class Built:
    """What a command line comes to, read back as the command that it names reads it."""

    made: Migrated
    job: Job | None = None
    recipe: Recipe | None = None
    arms: Any = None
    training: Any = None

    @property
    def notes(self) -> str:
        return " ".join(self.made.notes)


def built(script: str, words: list[str], place: Path, **options: Any) -> Built:
    made = migrate_react([f"scripts/{script}.py", *words], **options)
    if not made.tree:
        return Built(made)
    place.write_text(_yaml(made.tree, list(made.notes)), encoding="utf-8")
    if script == "traj_generator":
        job = load(Job, place)
        assert isinstance(job.react, React)
        return Built(made, job=job)
    recipe = load(Recipe, place)
    assert set(recipe.task.options) <= set(inspect.signature(_loader(recipe.task.name)).parameters)
    arms = {}
    training = {"": parse(Training, recipe.train, "train")}
    for name, arm in recipe.arms.items():
        spec = recipe.method_of(name)
        arms[name] = build_method(spec.name, spec.options)
        training[name] = parse(Training, {**recipe.train, **arm.train}, "train")
    return Built(made, recipe=recipe, arms=arms, training=training)


def look(found: Built, path: str) -> Any:
    """Follow a path of attributes and keys."""
    step = lambda value, name: value[name] if isinstance(value, dict) else getattr(value, name)  # noqa: E731
    return reduce(step, path.split("."), found)


# script, the row's words, options, what is looked at, without them, with them
Case = tuple[str, list[str], dict[str, Any], str, Any, Any]
CASES: list[Case] = [
    ("traj_generator", ["--start", "3"], {}, "job.react.work.start", 0, 3),
    ("traj_generator", ["--stop", "9"], {}, "job.react.work.stop", None, 9),
    ("traj_generator", ["--traj-qty", "7"], {}, "job.react.work.quantity", None, 7),
    ("traj_generator", ["--f1-threshold", "0.5"], {}, "job.react.filters.f1_threshold", 1.0, 0.5),
    ("traj_generator", ["--agent-max-iter", "3"], {}, "job.react.max_turns", 5, 3),
    ("traj_generator", ["-o", "here"], {}, "made.command", "--out output/trajectories", "--out here"),
    ("traj_generator", ["--output-dir", "here"], {}, "made.command", "--out output/trajectories", "--out here"),
    ("traj_to_SFT_converter", ["-o", "a/b.csv"], {}, "made.command", "--out output", "--out a"),
    ("traj_to_DPO_converter", ["--outfile", "a/b.csv"], {}, "made.command", "--out output", "--out a"),
    ("traj_to_SFT_converter", ["--templates-dir", "T"], {}, "made.command", "config/prompt_templates", "T --out"),
    ("traj_to_DPO_converter", ["--templates-dir", "T"], {}, "made.command", "config/prompt_templates", "T --out"),
    ("sft_trainer", ["--samples", "200"], {}, "arms.sft.work.quantity", 600, 200),
    ("sft_trainer", ["--samples", "202"], {"compat": True}, "training..steps", None, 51),
    ("dpo_trainer", ["--samples", "100"], {}, "training.dpo.steps", None, 25),
    ("evaluator_hotpot", ["--samples", "9", "9", "9"], {}, "recipe.task.options.per_level", KeyError, 9),
    ("evaluator_hotpot", ["--samples", "9", "9", "9"], {}, "recipe.evaluation.problems", 7405, 9),
    ("evaluator_hotpot", ["--samples", "4", "0", "4"], {}, "recipe.evaluation.levels", (1, 2, 3), (1, 3)),
    ("evaluator_hotpot", ["--agent-max-iter", "3"], {}, "arms.agent.max_turns", 5, 3),
    ("evaluator_hotpot", ["--subfolder", "b"], {}, "recipe.model.path", "araft_trained_dpo", "araft_trained_dpo/b"),
]


def seen(script: str, words: list[str], path: str, place: Path, **options: Any) -> Any:
    try:
        return look(built(script, [*PLACES[script], *words], place, **options), path)
    except KeyError:
        return KeyError


@pytest.mark.parametrize("case", CASES, ids=lambda c: " ".join([c[0], *c[1]]))
def test_a_translated_flag_changes_what_is_built(case: Case, tmp_path: Path) -> None:
    script, words, options, path, without, expected = case
    given = seen(script, words, path, tmp_path / "a.yaml", **options)
    plain = seen(script, [], path, tmp_path / "b.yaml", **options)
    if path == "made.command":
        assert (expected in given, expected in plain) == (True, False)
        assert without in plain
    else:
        assert (plain, given) == (without, expected)


PLACED = [
    ("traj_generator", "job.model", "job.task.path"),
    ("sft_trainer", "recipe.model.path", ""),
    ("dpo_trainer", "recipe.model.path", "recipe.arms.dpo.start"),
    ("evaluator_hotpot", "recipe.model.path", "recipe.task.options.path"),
]


@pytest.mark.parametrize(("script", "first", "second"), PLACED)
def test_words_at_their_places(script: str, first: str, second: str, tmp_path: Path) -> None:
    words = PLACES[script]
    found = built(script, words, tmp_path / "a.yaml")
    assert look(found, first) == words[0]
    if second:
        assert look(found, second) == ("sft" if script == "dpo_trainer" else words[1])
    switched = built(script, ["--agent-verbose", *words], tmp_path / "b.yaml") if script in AGENTS else found
    assert switched.made.tree == found.made.tree  # a switch takes no value, and no place


AGENTS = ("traj_generator", "evaluator_hotpot")


def test_every_row_has_a_case_or_a_place() -> None:
    tested = {(script, word.lstrip("-")) for script, words, *_ in CASES for word in words}
    for flag in FLAGS:
        assert flag.becomes or flag.differs or flag.refused, flag.names
        assert flag.scripts
        for script in flag.scripts:
            if flag.becomes and not flag.place:
                assert {(script, name) for name in (*flag.names, flag.short)} & tested, (script, flag.names)
            if flag.place:
                assert script in PLACES
    assert set(PLACES) == set(SCRIPTS)


def rows(wanted: Any) -> list[tuple[str, Flag]]:
    return [(script, flag) for flag in FLAGS for script in flag.scripts if wanted(flag)]


def of(pair: Any) -> str:
    return pair if isinstance(pair, str) else pair.names[0]


@pytest.mark.parametrize(("script", "flag"), rows(lambda f: f.refused), ids=of)
def test_a_refused_flag_says_why_and_shows_no_key(script: str, flag: Flag, tmp_path: Path) -> None:
    word = [] if flag.words == 0 else ["hf_secret"]
    with pytest.raises(ConfigError) as caught:
        built(script, [*PLACES[script], flag.spelled[0], *word], tmp_path / "a.yaml")
    assert flag.refused in str(caught.value)
    assert not flag.secret or "hf_secret" not in str(caught.value)
    for harmless in flag.harmless if flag.words else ():
        built(script, [*PLACES[script], f"{flag.spelled[0]}={harmless}"], tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("script", "flag"), rows(lambda f: f.differs and not f.becomes and not f.refused and not f.place), ids=of
)
def test_a_dead_flag_is_noted_and_changes_nothing(script: str, flag: Flag, tmp_path: Path) -> None:
    plain = built(script, PLACES[script], tmp_path / "a.yaml")
    word = [] if flag.words == 0 else ["0.5"]
    for name in flag.spelled:
        given = built(script, [*PLACES[script], name, *word], tmp_path / "b.yaml")
        assert flag.differs in given.notes
        assert flag.differs not in plain.notes
        assert given.made.tree == plain.made.tree
        assert given.made.command == plain.made.command


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sft_trainer.py", LLAMA], "sft_trainer needs DATASET too."),
        (["dpo_trainer.py"], "dpo_trainer needs BASE_MODEL ADAPTER DATASET too."),
        (["sft_trainer.py", "a", "b", "hf_secret"], "after b comes a word that is no --flag"),
        (["sft_trainer.py", "a", "b", "--sample", "3"], "Did you mean 'samples'?"),
        (["sft_trainer.py", "a", "b", "--start", "3"], "It is a flag of traj_generator."),
        (["sft_trainer.py", "a", "b", "--samples", "0"], "--samples must be at least 1"),
        (["evaluator_hotpot.py", "a", "b", "--samples", "1", "2"], "--samples needs 3 values."),
        (["evaluator_hotpot.py", "a", "b", "--samples", "1", "2", "3"], "each level has as many questions, or none"),
        (["evaluator_hotpot.py", "a", "b", "--samples", "1", "one", "1"], "--samples is a whole number, got 'one'."),
        (["traj_generator.py", "a", "b", "--f1-threshold", "1.5"], "above 0 and at most 1, got 1.5"),
        (["traj_to_SFT_converter.py", "gpt2", "b"], "in Llama-2-chat's template only"),
        (["traj_to_SFT_converter.py", LLAMA, "b", "-o", "x.json"], "must end in .csv"),
        (["train.py", "a"], "name the script that the command line runs: traj_generator.py"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        migrate_react(words)
    assert says in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_the_arms_tell_cutting_from_preferring(tmp_path: Path) -> None:
    found = built("dpo_trainer", PLACES["dpo_trainer"], tmp_path / "a.yaml")
    assert list(found.arms) == ["prompted", "sft_cut", "sft", "dpo_araft", "guard", "dpo"]
    assert (found.arms["sft_cut"].max_length, found.arms["sft_cut"].overflow) == (1024, "cut")
    assert (found.arms["sft"].overflow, found.training["sft"].overflow) == ("error", "error")
    assert (found.arms["dpo"].pairs, found.arms["dpo_araft"].pairs) == (("mined",), ("araft",))
    assert found.training["dpo"].lr == 5e-5
    assert found.training["sft"].lr == 2e-4
    assert "the published warm-up takes 100 of the 150 steps" in found.notes
    assert list(built("dpo_trainer", PLACES["dpo_trainer"], tmp_path / "b.yaml", controls=False).arms) == ["sft", "dpo"]
    assert list(built("sft_trainer", PLACES["sft_trainer"], tmp_path / "c.yaml", controls=False).arms) == ["sft"]
    assert built("sft_trainer", PLACES["sft_trainer"], tmp_path / "d.yaml", data="D").recipe.task.options["path"] == "D"


def test_compat_filters_cuts_and_pairs_as_they_did(tmp_path: Path) -> None:
    found = built("dpo_trainer", PLACES["dpo_trainer"], tmp_path / "a.yaml", compat=True)
    sft, dpo = found.arms["sft"], found.arms["dpo"]
    assert (sft.rows, sft.shots, sft.max_length, sft.overflow) == ("step", 3, 1024, "cut")
    assert (dpo.pairs, dpo.shots, dpo.max_length, dpo.max_prompt, dpo.overflow) == (("araft",), 3, 512, 128, "cut")
    assert (sft.filters.grounded, sft.filters.no_loop, sft.filters.clean) == (False, False, False)
    job = built("traj_generator", PLACES["traj_generator"], tmp_path / "b.yaml", compat=True).job
    assert job is not None
    assert not job.react.filters.grounded
    assert job.react.teacher.model == LLAMA


def test_the_readmes_own_lines_go_through(tmp_path: Path) -> None:
    script = tmp_path / "evaluate.sh"
    script.write_text(
        "EVAL=data/eval.json\npython scripts/evaluator_hotpot.py output/araft_trained_dpo $EVAL "
        "--samples 100 100 100 --subfolder dpo_trained\n"
    )
    made = migrate_react([str(script)])
    assert made.tree["model"]["path"] == "output/araft_trained_dpo/dpo_trained"
    assert made.tree["task"] == {"name": "hotpotqa", "path": "data/eval.json", "per_level": 100}


def test_the_command_writes_a_recipe_or_says_which_command_does_it(tmp_path: Path) -> None:
    out = tmp_path / "dpo.yaml"
    done = CliRunner().invoke(build(), ["migrate", "react", "--out", str(out), "--", "dpo_trainer.py", "a", "b", "c"])
    assert done.exit_code == 0, done.output
    assert f"thinktwice run {out}" in done.stdout
    assert load(Recipe, out).arms["dpo"].start == "sft"
    tables = ["--", "traj_to_SFT_converter.py", LLAMA, "t.json"]
    told = CliRunner().invoke(build(), ["migrate", "react", *tables])
    assert told.stdout.splitlines()[-1].startswith("thinktwice export-pairs t.json --compat araft-csv")
    refused = CliRunner().invoke(build(), ["migrate", "react", "--out", str(tmp_path / "no.yaml"), *tables])
    assert isinstance(refused.exception, ConfigError)
    assert not (tmp_path / "no.yaml").exists()


def documentation(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"docs_{name}_of_react", ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_has_every_row() -> None:
    page = (ROOT / "docs/guides/react.md").read_text(encoding="utf-8")
    assert "<!-- migration: react -->" in page
    assert list(documentation("checks").findings(page)) == []
    table = documentation("hooks").migration("react").splitlines()
    assert len(table) == len(FLAGS) + 2
    assert all(line.count(" | ") == 2 for line in table)
    assert any(line.startswith("| `--output-dir`, `-o` | traj_generator | `--out`.") for line in table)
    assert any(line.startswith("| `ADAPTER` | dpo_trainer | arm `sft`") for line in table)
