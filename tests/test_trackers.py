"""What experiment trackers are told. The stand-ins below have the signatures of the real packages, and nothing else.

Where a real package is installed (wandb 0.31, trackio 0.43, mlflow 3.17, tensorboard 2.21 were tried), it is used, too.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from thinktwice import pipeline
from thinktwice.config import Arm, Decode, Evaluation, Headline, Recipe, Spec, load
from thinktwice.errors import ConfigError
from thinktwice.pipeline.trackers import TRACKERS, Tracked, Trackers
from thinktwice.run import Progress

KEY = "0123456789abcdef0123456789abcdef01234567"
NAMES = ("tensorboard", "wandb", "trackio", "mlflow")
RECIPE = Recipe(
    name="told",
    task=Spec("arith", {"operations": [1, 1], "levels": [1], "train": 12, "per_level": 4}),
    method=Spec("baseline"),
    arms={"slow": Arm(), "fast": Arm(train={"lr": 3e-3})},
    train={"steps": 3, "batch_size": 4, "log_every": 1},
    decode=Decode(max_new_tokens=12),
    evaluation=Evaluation(problems=4, dev_problems=0, levels=(1,)),
    headline=Headline("fast", "slow", 1),
)

RECORD = """
import json, pathlib
def record(*call):
    with open(pathlib.Path(__file__).parent / "calls.jsonl", "a") as stream:
        stream.write(json.dumps(call) + "\\n")
"""
STAND_INS = {
    "wandb": """
class Settings:
    def __init__(self, *, console="auto", silent=False):
        assert console == "off"
class Run:
    def define_metric(self, name, step_metric=None, step_sync=None, hidden=None, summary=None, overwrite=None):
        record("wandb", "define_metric", name, step_metric)
    def log(self, data, step=None, commit=None):
        record("wandb", "log", data, step)
    def finish(self, exit_code=None):
        record("wandb", "finish")
def init(entity=None, project=None, dir=None, id=None, name=None, config=None, mode=None, resume=None, settings=None):
    record("wandb", "init", dict(project=project, dir=dir, id=id, name=name, config=config, mode=mode, resume=resume))
    assert pathlib.Path(dir).is_dir()
    return Run()
""",
    "trackio": """
import os
DIRECTORY = os.environ["TRACKIO_DIR"]
class Run:
    def log(self, metrics, step=None):
        record("trackio", "log", metrics, step)
    def finish(self):
        print("* Run finished.")
        record("trackio", "finish")
def init(project, name=None, group=None, space_id=None, config=None, resume="never", settings=None, private=None,
         embed=True, auto_log_gpu=None, gpu_log_interval=10.0, auto_log_cpu=None):
    print("* Trackio project initialized")
    record("trackio", "init", dict(project=project, name=name, config=config, resume=resume, space=space_id,
                                   directory=DIRECTORY))
    return Run()
""",
    "mlflow": "",
    "tensorboard": "",
}
MLFLOW_TRACKING = """
from types import SimpleNamespace
from mlflow import record
class MlflowClient:
    def __init__(self, tracking_uri=None, registry_uri=None):
        record("mlflow", "client", tracking_uri)
    def get_experiment_by_name(self, name):
        return None
    def create_experiment(self, name, artifact_location=None, tags=None):
        return "7"
    def search_runs(self, experiment_ids, filter_string="", run_view_type=1, max_results=1000, order_by=None):
        record("mlflow", "search", experiment_ids, filter_string)
        return []
    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        record("mlflow", "run", experiment_id, tags, run_name)
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    def log_metric(self, run_id, key, value, timestamp=None, step=None):
        assert run_id == "r1"
        record("mlflow", "log", {key: value}, step)
    def set_terminated(self, run_id, status=None, end_time=None):
        record("mlflow", "finish")
"""
Calls = Callable[[str], list[list[Any]]]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put the stand-ins where the real packages would be, and return what each was called with."""
    place = tmp_path / "packages"
    for name, code in STAND_INS.items():
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text(RECORD + code)
    (place / "mlflow" / "tracking.py").write_text(MLFLOW_TRACKING)
    monkeypatch.syspath_prepend(str(place))
    for name in [*STAND_INS, "mlflow.tracking"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    board = ModuleType("torch.utils.tensorboard")  # torch's own module: it needs the real package's protocol buffers
    events: list[list[Any]] = []

    class SummaryWriter:
        def __init__(self, log_dir: str | None = None, comment: str = "", purge_step: int | None = None) -> None:
            events.append(["tensorboard", "open", log_dir])

        def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
            events.append(["tensorboard", "log", {tag: scalar_value}, global_step])

        def close(self) -> None:
            events.append(["tensorboard", "finish"])

    board.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)

    def calls(name: str) -> list[list[Any]]:
        path = place / name / "calls.jsonl"
        written = path.read_text().splitlines() if path.exists() else []
        return events if name == "tensorboard" else [json.loads(line) for line in written]

    yield calls
    for name in [*STAND_INS, "mlflow.tracking"]:
        sys.modules.pop(name, None)


def series(calls: list[list[Any]], name: str) -> dict[int, float]:
    """Return step -> value of one number, however a tracker was told its step."""
    found = {}
    for call in calls:
        if call[1] == "log" and name in call[2]:
            axis = f"{name.partition('/')[0]}/step"
            found[call[2].get(axis, call[3])] = call[2][name]
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_tracker_is_told_every_step_and_what_the_run_came_to(
    stand_ins: Calls, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = pipeline.run_recipe(replace(RECIPE, report_to=NAMES), tmp_path / "run")
    summary = json.loads((root / "summary.json").read_text())
    for name in NAMES:
        calls = stand_ins(name)
        for arm in RECIPE.arms:
            rows = lines(root / f"stages/train-{arm}/metrics.jsonl")
            assert series(calls, f"train-{arm}/loss") == {row["step"]: row["loss"] for row in rows}
            assert len(rows) == 3  # both arms count from 1: neither hides the other
            told = series(calls, f"summary/{arm}/level_1/accuracy")
            assert told == {0: summary["arms"][arm]["1"]["accuracy"]}
        assert series(calls, "summary/headline/difference") == {0: summary["headline"]["difference"]}
        assert series(calls, "summary/seconds/train-slow")[0] > 0
        assert [call[1] for call in calls].count("finish") == 1
        assert calls[-1][1] == "finish"
    assert "Trackio" not in capfd.readouterr().out


def test_what_is_kept_stays_in_the_run_and_needs_no_network(stand_ins: Calls, tmp_path: Path) -> None:
    root = pipeline.run_recipe(replace(RECIPE, report_to=NAMES), tmp_path / "run")
    kept = root / "trackers"
    (begun,) = [call[2] for call in stand_ins("wandb") if call[1] == "init"]
    assert (begun["mode"], begun["resume"], begun["dir"]) == ("offline", "allow", str(kept))
    assert begun["config"] == json.loads((root / "config.json").read_text())
    (opened,) = [call[2] for call in stand_ins("trackio") if call[1] == "init"]
    assert opened["directory"] == str(kept / "trackio")
    assert opened["space"] is None
    assert opened["name"] == begun["id"]
    assert stand_ins("mlflow")[0][2] == f"sqlite:///{kept / 'mlflow.db'}"
    assert stand_ins("tensorboard")[0][2] == str(kept / "tensorboard")


def test_trackers_are_no_part_of_a_run_and_may_change_when_it_is_gone_on_with(stand_ins: Calls, tmp_path: Path) -> None:
    told = replace(RECIPE, report_to=("wandb",))
    assert told.deciding() == RECIPE.deciding()
    assert "report_to" not in RECIPE.deciding()
    with_one, without = (pipeline.run_recipe(r, tmp_path / n) for r, n in ((told, "with"), (RECIPE, "without")))
    assert (with_one / "config.json").read_bytes() == (without / "config.json").read_bytes()
    for arm in RECIPE.arms:
        weights = "stages/train-" + arm + "/model/model.safetensors"
        assert (with_one / weights).read_bytes() == (without / weights).read_bytes()
    assert not (without / "trackers").exists()
    manifests = {path: path.stat().st_mtime_ns for path in without.glob("stages/*/manifest.json")}
    pipeline.run_recipe(replace(RECIPE, report_to=("mlflow",)), without)  # refused, were it part of the identity
    assert manifests == {path: path.stat().st_mtime_ns for path in without.glob("stages/*/manifest.json")}
    summary = json.loads((without / "summary.json").read_text())
    assert series(stand_ins("mlflow"), "summary/fast/level_1/accuracy") == {0: summary["arms"]["fast"]["1"]["accuracy"]}
    assert Tracked("told", {}, without / "trackers").id == Tracked("told", {}, without / "trackers").id
    assert Tracked("told", {}, without / "trackers").id != Tracked("told", {}, with_one / "trackers").id


def test_a_missing_package_is_told_before_anything_is_done(tmp_path: Path) -> None:
    absent = [name for name in NAMES if find_spec(name) is None]
    if not absent:
        pytest.skip("every tracker is installed here")
    with pytest.raises(ConfigError, match=f"{absent[0]} is not installed; pip install {absent[0]}"):
        pipeline.run_recipe(replace(RECIPE, report_to=(absent[0],)), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="comet"):
        load(Recipe, Path(__file__).parents[1] / "recipes/backtrack.yaml", ["report_to=[comet]"])
    asked = load(Recipe, Path(__file__).parents[1] / "recipes/backtrack.yaml", ["report_to=[wandb, tensorboard]"])
    assert asked.report_to == ("wandb", "tensorboard")


def test_a_tracker_that_fails_is_left_out_told_once_and_gives_no_key_away(
    stand_ins: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    trackers = Trackers(("wandb", "mlflow"))
    with caplog.at_level(logging.WARNING), trackers.following(Tracked("told", {}, tmp_path / "trackers")):
        trackers.listen(Progress("train-a", 0.5, step=1, numbers={"loss": 2.0}))

        def refuse(*_: Any, **__: Any) -> None:
            raise ConnectionError(f"api.wandb.ai refused {KEY}")

        monkeypatch.setattr(sys.modules["wandb"].Run, "log", refuse)
        for step in (2, 3):
            trackers.listen(Progress("train-a", 0.9, step=step, numbers={"loss": 1.0}))
    assert series(stand_ins("mlflow"), "train-a/loss") == {1: 2.0, 2: 1.0, 3: 1.0}
    assert series(stand_ins("wandb"), "train-a/loss") == {1: 2.0}
    (warning,) = [record.getMessage() for record in caplog.records if "report_to" in record.getMessage()]
    assert "refused [key]" in warning
    assert KEY not in caplog.text


def test_progress_without_numbers_is_not_shown(stand_ins: Calls, tmp_path: Path) -> None:
    trackers = Trackers(("mlflow",))
    with trackers.following(Tracked("told", {}, tmp_path / "trackers")):
        trackers.listen(Progress("solve-a", 0.5, "3 of 6 problems"))
    assert [call[1] for call in stand_ins("mlflow")] == ["client", "search", "run", "finish"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("default")  # theirs
def test_a_real_tracker_takes_a_run_twice_and_writes_no_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    for variable in ("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(variable, KEY)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    place = tmp_path / "trackers"
    for step in (1, 2):  # the second time as a run that is gone on with
        trackers = Trackers((name,))
        with trackers.following(Tracked("told", {"train": {"lr": 1.0}}, place)):
            trackers.listen(Progress("train-b", 0.5, step=step, numbers={"loss": 1.0 / step}))
            trackers.listen(Progress("train-a", 0.5, step=1, numbers={"loss": 3.0}))
            assert list(trackers._active) == [name]  # it did not fail
    files = [path for path in place.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert set(TRACKERS) == set(NAMES)
