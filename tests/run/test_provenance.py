import json
import subprocess
from pathlib import Path

import pytest

from thinktwice.run import provenance
from thinktwice.run.provenance import code_state, environment, without_secrets


def test_no_secret_enters_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secretsecret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    argv = ["/home/me/bin/thinktwice", "run", "x.yaml", "--token", "secret1", "engine.api_key=secret2"]
    argv += ["hf_secretsecretsec", "--password=secret3", "https://me:secret4@host/v1"]
    argv += ["decode.max_new_tokens=5", "seed=1"]
    recorded = environment(argv)
    assert "secret" not in json.dumps(recorded)
    assert recorded["variables"]["OMP_NUM_THREADS"] == "1"
    assert recorded["packages"]["thinktwice"]
    assert recorded["cores"] >= 1
    assert recorded["command"][:3] == ["thinktwice", "run", "x.yaml"]
    assert recorded["command"][-2:] == ["decode.max_new_tokens=5", "seed=1"]
    assert without_secrets(["x", "--token"]) == ["x", "--token"]


def make_package(root: Path) -> Path:
    package = root / "src/thinktwice"
    (package / "report").mkdir(parents=True)
    (package / "cli").mkdir()
    for name in ("types.py", "decode.py", "report/page.py", "cli/work.py"):
        (package / name).write_text("1\n")
    return package


def test_only_files_that_can_change_a_result_decide(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    before, patch = code_state(package)
    assert sorted(before["files"]) == ["decode.py", "types.py"]
    assert (before["commit"], patch) == (None, "")
    (package / "cli/work.py").write_text("2\n")
    assert code_state(package)[0]["files"] == before["files"]
    (package / "decode.py").write_text("2\n")
    assert code_state(package)[0]["files"] != before["files"]


def test_a_checkout_records_its_commit_and_its_changes(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    state, patch = code_state(package)
    assert len(state["commit"]) == 40
    assert (state["changed"], patch) == (False, "")
    (package / "decode.py").write_text("2\n")
    state, patch = code_state(package)
    assert state["changed"]
    assert "+2" in patch
    subprocess.run([*git, "rm", "-q", "--cached", "-r", "."], check=True)
    assert code_state(package)[0]["commit"] is None  # inside someone else's checkout


def test_a_machine_without_git_still_has_its_files_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path)
    monkeypatch.setattr(provenance.shutil, "which", lambda name: None)
    state, _ = code_state(package)
    assert state["commit"] is None
    assert state["files"]
    assert provenance.gpus() == []
