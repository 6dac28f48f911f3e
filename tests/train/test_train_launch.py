"""Several processes that one training starts: the same weights, its reports and its errors, and nothing left behind."""

import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

from thinktwice.errors import ConfigError, DataError, TrainError
from thinktwice.train.behind_trl import check_settings
from thinktwice.train.job import fit
from thinktwice.train.launch import command
from thinktwice.train.settings import Training

TWO = Training(backend="trl", processes=2, steps=3, batch_size=6, precision="fp32", log_every=1, save_every=1)
ZERO = Path(__file__).parents[2] / "recipes/deepspeed"


def largest_difference(one: Path, other: Path, name: str = "model.safetensors") -> float:
    a, b = load_file(one / name), load_file(other / name)
    assert a.keys() == b.keys()
    return max(float((a[key].float() - b[key].float()).abs().max()) for key in a)


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_report_every_step_once(make_base, make_examples, tmp_path):
    base, examples, dev = make_base(), make_examples(12, fractions=True), make_examples(3, seed=1)
    reports = {1: [], 2: []}
    models = {
        count: fit(examples, base, tmp_path / f"{count}", replace(TWO, processes=count), dev=dev,
                   progress=reports[count].append)
        for count in (1, 2)
    }  # fmt: skip
    assert [r.step for r in reports[2]] == [1, 2, 3]
    assert [r.loss for r in reports[2]] == pytest.approx([r.loss for r in reports[1]], abs=1e-5)
    assert [r.tokens for r in reports[2]] == [r.tokens for r in reports[1]]
    assert reports[2][-1].dev_loss == pytest.approx(reports[1][-1].dev_loss, abs=1e-5)
    assert largest_difference(models[1], models[2]) < 1e-4
    assert largest_difference(base, models[2]) > 1e-3
    assert len((tmp_path / "2/metrics.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "2/launch").exists()
    assert fit(examples, base, tmp_path / "2", TWO, dev=dev) == models[2]  # done: nothing is started


@pytest.mark.slow
def test_what_a_process_refuses_is_raised_here_as_it_was_said(make_base, make_examples, tmp_path):
    blank = [replace(e, weights=(0.0,) * len(e.weights)) for e in make_examples(4)]
    base = make_base()
    with pytest.raises((DataError, TrainError)) as alone:
        fit(blank, base, tmp_path / "one", replace(TWO, processes=1))
    with pytest.raises(type(alone.value)) as together:
        fit(blank, base, tmp_path / "two", TWO)
    assert str(together.value) == str(alone.value)


@pytest.mark.slow
def test_an_interrupted_training_takes_its_processes_with_it(make_base, make_examples, tmp_path):
    code = f"""
import pickle, sys
from pathlib import Path
from thinktwice.train.job import fit
from thinktwice.train.settings import Training
examples, base, out, settings = pickle.loads(Path({str(tmp_path / "job")!r}).read_bytes())
fit(examples, base, out, settings, progress=lambda report: print("step", report.step, flush=True))
"""
    settings = replace(TWO, steps=100_000)
    (tmp_path / "job").write_bytes(pickle.dumps((make_examples(12), make_base(), tmp_path / "out", settings)))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline().startswith("step 1")
    parent.send_signal(signal.SIGTERM)
    parent.stdout.close()
    assert parent.wait() == 128 + signal.SIGTERM
    mark = str(tmp_path / "out/launch").encode()
    for _ in range(300):  # the last ones may still be on their way out
        left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if mark in _read(p)]
        if not left:
            break
        time.sleep(0.1)
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(("stage", "mode"), [(2, "full"), (2, "lora"), (3, "full"), (3, "lora")])
def test_zero_trains_the_same_weights_and_saves_them_whole(stage, mode, make_base, make_examples, tmp_path):
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed (0.19.8 was tried, on CPUs)")
    base, examples = make_base(), make_examples(12)
    settings = replace(TWO, mode=mode, deepspeed=str(ZERO / f"zero{stage}.json"), save_every=0)
    one = fit(examples, base, tmp_path / "one", replace(settings, processes=1, deepspeed=None))
    two = fit(examples, base, tmp_path / "two", settings)
    name = "model.safetensors" if mode == "full" else "adapter_model.safetensors"
    assert largest_difference(one, two, name) < 1e-4


def test_processes_are_no_part_of_other_trainings_and_are_refused_where_nobody_would_start_them(monkeypatch, tmp_path):
    plain = Training(backend="trl")
    assert replace(plain, processes=1).fingerprint() == plain.fingerprint()
    assert (
        plain.fingerprint() == "71fc6a96d1490a43b33beccf0e1b3cea7d987d0688e8548fb2483d58f68d3611"
    )  # as before there were any
    assert replace(plain, processes=2).fingerprint() != plain.fingerprint()
    assert replace(plain, deepspeed="a.json").fingerprint() != plain.fingerprint()
    for wrong in ({"processes": 2}, {"deepspeed": "zero2.json"}):
        with pytest.raises(ConfigError, match="is for backend=trl"):
            Training(**wrong)
    with pytest.raises(ConfigError, match="must be at least 1"):
        Training(processes=0)
    with pytest.raises(TrainError, match="num_test=0"):
        fit([], tmp_path, tmp_path / "out", TWO, evaluate=lambda model: 0.0)
    monkeypatch.setattr("thinktwice.train.sharding.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install deepspeed"):
        check_settings(replace(plain, deepspeed=str(ZERO / "zero2.json")))
    monkeypatch.setattr("thinktwice.train.sharding.find_spec", lambda name: object())
    for settings, why in (
        (replace(plain, mode="qlora", deepspeed=str(ZERO / "zero3.json")), "use stage 2"),
        (replace(plain, eval_every=1, early_stopping=1, deepspeed=str(ZERO / "zero3.json")), "early_stopping=0"),
        (replace(plain, deepspeed="nowhere.json"), "there is no file"),
    ):
        with pytest.raises(ConfigError, match=why):
            check_settings(settings)
    check_settings(replace(plain, mode="qlora", deepspeed=str(ZERO / "zero2.json")))


def test_the_command_starts_as_many_processes_as_were_asked_for(tmp_path):
    words = command(TWO, "somewhere")
    assert words[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
                         "thinktwice.train.launch", "somewhere"]  # fmt: skip
