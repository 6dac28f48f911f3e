"""What a dry run and SLURM scripts say, word by word against the real commands and the real schema."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from typer.testing import CliRunner

from thinktwice import cli
from thinktwice.cli.dry_run import trainings
from thinktwice.cli.needs import needs, paths
from thinktwice.cli.slurm import Cluster, read_variants, scripts, shape
from thinktwice.config import Recipe, load
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.tasks import load_task
from thinktwice.train.zero import Zero

ROOT = Path(__file__).parents[2]
PRESETS = {size: ROOT / f"recipes/evolve_{size}.yaml" for size in ("3b", "7b", "13b")}
DATA = ROOT / "../shared/data/natural_instructions_v1"
VARIANTS = sorted((ROOT / "recipes/slurm").glob("*.yaml"))
SECRET = re.compile(
    r"\b(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{24,}\b|\b(?:sk|hf|ghp|glpat|xox[bp])[-_]\w{8,}"
    r"|(?i:api_?key|token|password|secret)\s*="
)
"""What a key looks like: a long run of letters and digits, a known beginning, or a variable that would hold one."""
SBATCH = {
    "job-name", "chdir", "output", "nodes", "ntasks", "gres", "cpus-per-task", "mem", "time", "signal", "partition",
    "account", "parsable", "dependency", "kill-on-invalid-dep",
}  # fmt: skip
"""Options of sbatch (https://slurm.schedmd.com/sbatch.html) that the scripts may use."""


def checks() -> ModuleType:
    """Load the documentation's checker: it knows every command and option of the real application."""
    spec = importlib.util.spec_from_file_location("docs_checks_here", ROOT / "docs/checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")


def faults_of(line: str) -> list[str]:
    """Return what is wrong with a thinktwice command, its overrides checked down to the method's own fields."""
    found = list(checks().faults(line))
    name, file, *words = shlex.split(line)[1:]
    if name not in ("run", "slurm"):
        return found
    try:
        shape(load(Recipe, ROOT / file, [word for word in words if re.match(r"[\w.]+=", word)]))
    except ConfigError as error:
        found.append(str(error))
    return found


def check_script(text: str) -> list[str]:
    """Return what is wrong with a script: its shell, its SBATCH options, and every command in it."""
    found = []
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        found.append(done.stderr)
    assert text.startswith("#!/bin/bash\n")
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            (word,) = shlex.split(line.removeprefix("#SBATCH "))
            found += [f"sbatch has no {word}"] if word.removeprefix("--").partition("=")[0] not in SBATCH else []
        elif line.startswith("exec thinktwice "):
            found += faults_of(line.removeprefix("exec "))
        elif line.startswith("job=$("):
            words = shlex.split(line[len("job=$(") : -1])
            assert words[0] == "sbatch"
            asked = [word.removeprefix("--").partition("=")[0] for word in words[1:-1]]
            found += [f"sbatch has no --{name}" for name in asked if name not in SBATCH]
        elif not line.startswith(("#", "set -euo pipefail", "job=${job%%;*}", "echo ", "bash ")):
            found.append(f"an unexpected line: {line}")
    return [*found, *(f"looks like a key: {match[0]}" for match in SECRET.finditer(text))]


def test_the_checkers_find_what_is_wrong() -> None:
    good = "#!/bin/bash\n#SBATCH --mem=1G\nexec thinktwice run recipes/evolve_7b.yaml train.lr=1e-4 --until-round 2\n"
    assert check_script(good) == []
    for right, wrong in (
        ("--until-round", "--until-rounds"),
        ("train.lr", "train.learning"),
        ("train.lr=1e-4", "method.critique=2"),
        ("train.lr=1e-4", "method.source=oracle"),
        ("#SBATCH --mem", "#SBATCH --memory"),
    ):
        assert check_script(good.replace(right, wrong)) != [], wrong
    assert check_script(good + "export WANDB_API_KEY=x\n") != []
    for key in ("hf_abcdefghijkl", "0123456789abcdef0123456789abcdef01234567", "sk-proj_0123abcd"):
        assert any("looks like a key" in fault for fault in check_script(good + f"# {key}\n")), key
    assert check_script(good + "if\n") != []


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
@pytest.mark.parametrize("variants", [None, *VARIANTS], ids=lambda p: "one chain" if p is None else p.stem)
def test_every_flag_of_every_script_exists(preset: Path, variants: Path | None, tmp_path: Path) -> None:
    file = preset.relative_to(ROOT)
    made = scripts(file, ["train.lr=1e-4"], tmp_path, Cluster(partition="gpu", account="lab"), read_variants(variants))
    jobs = {name: text for name, text in made.items() if not name.endswith("submit.sh")}
    rounds, processes = shape(load(Recipe, preset))
    chains = 1 if variants is None else len(yaml.safe_load(variants.read_text()))
    assert len(jobs) == rounds * chains == 5 * chains
    for name, text in made.items():
        assert check_script(text) == [], name
    for text in jobs.values():
        assert f"--gres=gpu:{processes}\n" in text
        assert "train.lr=1e-4" in text
    for number in range(1, 6):
        for name, text in jobs.items():
            if name.endswith(f"round-{number}.sh"):
                assert (f"--until-round {number}" in text) == (number < 5)
                assert ("--until-round" in text) == (number < 5)
    for name, text in made.items():
        if name.endswith("submit.sh") and (variants is None or "/" in name):
            waits = re.findall(r"sbatch --parsable( --dependency=afterok:\$job)?.* (\S+)\)", text)
            assert [bool(wait) for wait, _ in waits] == [False, True, True, True, True]
            assert [Path(place).name for _, place in waits] == [f"round-{n}.sh" for n in range(1, 6)]


def test_variants_are_what_the_public_code_varies() -> None:
    sweep = read_variants(ROOT / "recipes/slurm/critiques.yaml")
    told = [shape_of(changes).critiques for changes in sweep.values()]
    assert told == list(range(1, 11))
    ablations = {
        name: shape_of(changes) for name, changes in read_variants(ROOT / "recipes/slurm/ablations.yaml").items()
    }
    plain = shape_of(())
    assert {name: method.exemplars for name, method in ablations.items()} == {
        "no_vote": "clustered",
        "no_prompt_optimisation": "human",
        "no_initial_examples": "none",
        "mismatched_examples": "mismatched",
    }
    assert (ablations["no_vote"].critiques, ablations["no_vote"].vote) == (1, "first")
    assert (plain.critiques, plain.vote, plain.exemplars) == (5, "verdict", "clustered")


def shape_of(changes):  # type: ignore[no-untyped-def]
    recipe = load(Recipe, PRESETS["7b"], changes)
    return build_method(recipe.method.name, recipe.method.options)


def test_a_chain_runs_as_sbatch_would_run_it(tmp_path: Path) -> None:
    """A stand-in for sbatch that answers as `--parsable` does, cluster's name included, and writes down its words."""
    made = scripts(Path("recipes/evolve_3b.yaml"), [], tmp_path / "out dir", Cluster(), {})
    for name, text in made.items():
        (tmp_path / "out dir").mkdir(exist_ok=True)
        (tmp_path / "out dir" / name).write_text(text)
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(
        f'#!/bin/bash\nfor last; do :; done\n[ -f "$last" ] || exit 1\necho "$*" >> {tmp_path}/asked\n'
        f'echo "$((100 + $(wc -l < {tmp_path}/asked)));cluster"\n'
    )
    sbatch.chmod(0o755)
    path = f"{sbatch.parent}:/usr/bin:/bin"
    done = subprocess.run(["bash", str(tmp_path / "out dir/submit.sh")], env={"PATH": path}, check=True,
                          capture_output=True, text=True)  # fmt: skip
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [re.findall(r"afterok:(\S+)", line) for line in asked] == [[], ["101"], ["102"], ["103"], ["104"]]
    assert done.stdout.splitlines()[-1] == "round-5.sh is job 105"


def dry_run_of(*words: str) -> str:
    done = CliRunner().invoke(cli.build(), ["run", *words, "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("size", PRESETS)
def test_a_dry_run_of_a_preset_prints_commands_that_exist(size: str, tmp_path: Path) -> None:
    output = dry_run_of(f"recipes/evolve_{size}.yaml", "--runs", str(tmp_path / "runs"))
    lines = [line.strip().removeprefix("$ ") for line in output.splitlines() if line.strip().startswith("$ ")]
    ours = [line for line in lines if line.startswith("thinktwice ")]
    assert [shlex.split(line)[1] for line in ours] == ["run", "slurm"]
    assert [fault for line in ours for fault in faults_of(line)] == []
    jobs = [line for line in lines if line.startswith("job=$(")]
    assert len(jobs) == 5
    assert check_script("#!/bin/bash\n" + "\n".join(jobs) + "\n") == []
    assert SECRET.search(output.replace(str(tmp_path), "")) is None
    assert not (tmp_path / "runs").exists()  # nothing was run
    started = [line for line in lines if "torch.distributed.run" in line]
    assert len(started) == (2 if size == "13b" else 0)  # the two arms that train
    for line in started:
        words = shlex.split(line)
        assert words[0] == sys.executable
        assert f"--nproc-per-node={shape(load(Recipe, PRESETS[size]))[1]}" in words
        own = words[words.index("torch.distributed.run") + 1 :]
        from torch.distributed.run import get_args_parser

        parsed, rest = get_args_parser().parse_known_args(own)
        assert (parsed.nproc_per_node, parsed.module, parsed.standalone, rest) == ("2", True, True, [])
        assert parsed.training_script == "thinktwice.train.launch"
        assert importlib.util.find_spec(parsed.training_script) is not None


def test_memory_is_told_for_training_and_answering_without_weights() -> None:
    totals = {}
    for size in PRESETS:
        output = dry_run_of(f"recipes/evolve_{size}.yaml")
        trains = re.search(r"memory of a GPU that trains evolve, shuffled: ([\d.]+) GiB", output)
        answers = re.search(r"memory of the GPU that answers: ([\d.]+) GiB", output)
        assert trains is not None
        assert answers is not None
        totals[size] = float(trains[1]), float(answers[1])
        for part in ("quantised weights", "optimiser states", "gradients", "activations", "keys and values"):
            assert re.search(rf"{part} +[\d.]+ [GM]iB  \S", output), part
    assert totals["3b"] < totals["7b"] < totals["13b"]
    assert max(totals["13b"]) < 31  # a 32 GB card, as the recipe says
    assert max(totals["7b"]) < 23
    assert max(totals["3b"]) < 15


def test_what_is_missing_is_named_and_what_is_there_is_not(tmp_path: Path) -> None:
    output = dry_run_of("recipes/evolve_13b.yaml", f"task.path={tmp_path}")
    for line in (f"✗ {tmp_path}", "✓ recipes/deepspeed/zero2.json", "↓ meta-llama/Llama-2-13b-hf"):
        assert line in output
    assert "an empty directory" in output
    (tmp_path / "task.json").write_text("{}")
    assert f"✓ {tmp_path}" in dry_run_of("recipes/evolve_13b.yaml", f"task.path={tmp_path}")
    output = dry_run_of("recipes/evolve_13b.yaml", "train.deepspeed=recipes/deepspeed/zero4.json")
    assert "✗ recipes/deepspeed/zero4.json" in output
    if not torch.cuda.is_available():
        assert "2 GPUs" in output.splitlines()[-1]
    own = dry_run_of("recipes/backtrack.yaml")
    assert "✓ nano" in own
    assert own.splitlines()[-1] == "Nothing was run. Everything it reads is here, or would be fetched."
    unknown = dry_run_of("recipes/backtrack.yaml", "model.path=nobody/nothing-1b")
    assert "memory: not known. model.path='nobody/nothing-1b': its shapes are not known here." in unknown


def test_a_wrong_key_is_refused_by_a_dry_run_too() -> None:
    for word in ("method.critique=2", "train.lora_rnak=3", "methid.a=1", "arms.evolve.train.lora_rnak=3"):
        done = CliRunner().invoke(cli.build(), ["run", "recipes/evolve_7b.yaml", word, "--dry-run"])
        assert isinstance(done.exception, ConfigError), word


def test_paths_are_found_in_options_of_any_shape() -> None:
    options = {
        "path": "data/x",
        "k": 3,
        "corpus": "wiki.sqlite",
        "store": "runs/written.sqlite",
        "teacher": {"base_url": "http://localhost/v1", "model": "owner/name"},
        "posing": {"file": "a.jsonl", "shares": [0.1]},
        "verifier": "checks/mine.py:check",
        "notes": ["one.txt", "no path"],
    }
    assert dict(paths(options)) == {
        "path": "data/x",
        "corpus": "wiki.sqlite",
        "posing.file": "a.jsonl",
        "verifier": "checks/mine.py",
        "notes": "one.txt",
    }


def test_packages_and_trackers_are_needs(tmp_path: Path) -> None:
    recipe = load(Recipe, PRESETS["13b"], ["report_to=[wandb]"])
    found = {need.what: need for need in needs(recipe, PRESETS["13b"], trainings(recipe))}
    for name in ("deepspeed", "bitsandbytes", "trl", "wandb"):
        here = importlib.util.find_spec(name) is not None
        assert found[name].state == ("here" if here else "missing")
        assert here or "pip install" in found[name].say


def test_presets_are_one_schema_with_other_sizes() -> None:
    recipes = {size: load(Recipe, file) for size, file in PRESETS.items()}
    flat = {size: dict(leaves(recipe.deciding())) for size, recipe in recipes.items()}
    differing = {key for key in set().union(*flat.values()) if len({repr(f.get(key)) for f in flat.values()}) > 1}
    assert differing == {
        "name", "model.path", "task.per_task", "method.problems", "method.critiques", "decode.batch_size",
        "train.backend", "train.processes", "train.deepspeed", "train.grad_accumulation",
    }  # fmt: skip
    for size, (critiques, batch) in {"3b": (3, 4), "7b": (5, 1), "13b": (1, 1)}.items():
        recipe = recipes[size]
        assert recipe.method.options["rounds"] == 5
        assert (recipe.method.options["critiques"], recipe.decode.batch_size) == (critiques, batch)
        settings = trainings(recipe)["evolve"]
        assert (settings.mode, settings.bits, settings.lora_rank, settings.lora_alpha) == ("qlora", 4, 16, 8)
        assert settings.lora_dropout == 0.05
        assert len(settings.lora_targets) == 7
        assert settings.batch_size == settings.grad_accumulation * settings.processes  # a row at a time
    assert Zero.read(recipes["13b"].train["deepspeed"]).stage == 2


def leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_configurations_know_their_stage(name: str, stage: int) -> None:
    zero = Zero.read(ROOT / f"recipes/deepspeed/{name}.json")
    assert (zero.stage, zero.bucket) == (stage, 50_000_000)
    assert {field.name for field in fields(zero)} == {"stage", "offload_optimizer", "offload_parameters", "bucket"}
    output = dry_run_of("recipes/evolve_13b.yaml", f"train.deepspeed=recipes/deepspeed/{name}.json", "train.mode=lora")
    frozen = re.search(r"frozen weights +([\d.]+) GiB  13,015,864,320(.*)", output)
    assert frozen is not None
    assert ("over 2 GPUs" in frozen[2]) == (stage == 3)


def test_scripts_are_never_written_over_others_and_variants_are_checked(tmp_path: Path) -> None:
    def write(*words: str) -> tuple[int, str, BaseException | None]:
        done = CliRunner().invoke(cli.build(), ["slurm", "recipes/evolve_7b.yaml", *words])
        return done.exit_code, done.output, done.exception

    code, output, _ = write("--out", str(tmp_path / "jobs"), "--hours", "30", "--partition", "gpu")
    assert (code, output) == (0, f"5 jobs; submit them: bash {tmp_path}/jobs/submit.sh\n")
    text = (tmp_path / "jobs/round-2.sh").read_text()
    assert "#SBATCH --time=30:00:00\n" in text
    assert "#SBATCH --partition=gpu\n" in text
    assert write("--out", str(tmp_path / "jobs"), "--hours", "30", "--partition", "gpu")[0] == 0  # the same ones
    assert "is another script" in str(write("--out", str(tmp_path / "jobs"))[2])
    assert "--out DIR" in str(write()[2])
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("no_vote: [method.votes=first]\n")
    assert "votes" in str(write("--out", str(tmp_path / "b"), "--variants", str(wrong))[2])
    wrong.write_text("no_vote: method.vote=first\n")
    assert "must be a list of changes" in str(write("--out", str(tmp_path / "b"), "--variants", str(wrong))[2])
    assert not (tmp_path / "b").exists()
    one = scripts(Path("recipes/backtrack.yaml"), [], tmp_path, Cluster(), {})
    assert set(one) == {"round-1.sh", "submit.sh"}  # a method without rounds is one job
    assert "--until-round" not in one["round-1.sh"]
    assert all(check_script(text) == [] for text in one.values())


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_the_real_task_files_have_as_many_rows_as_the_rounds_answer(preset: Path) -> None:
    recipe = load(Recipe, preset, [f"task.path={DATA}"])
    task = load_task(recipe.task.name, **recipe.task.options)
    asked = recipe.method.options
    assert len(task.splits["train"]) >= asked["rounds"] * asked["problems"] + asked["shots"]
    assert len(task.splits["dev"]) == recipe.evaluation.dev_problems
    assert len(task.splits["test"]) >= recipe.evaluation.problems
    trained, tested = ({p.kind for p in task.splits[split]} for split in ("train", "test"))
    assert len(trained) == 15
    assert sorted(tested) == sorted(recipe.task.options["test_tasks"])
