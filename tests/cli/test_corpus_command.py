import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thinktwice.tools.remote import Remote

DATA = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture
def dump(tmp_path):
    rows = [
        {"title": "Ada Lovelace", "text": "She wrote \x1b[31mthe first program.", "redirects": ["Ada King"]},
        {"title": "Ada", "choices": ["Ada Lovelace", "Ada (town)"]},
        {"title": "Ada (town)", "abstract": "A town [bold]in Ohio[/bold]. " + "Long. " * 60},
    ]
    path = tmp_path / "dump.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_build_search_open_info(call, dump, tmp_path):
    out = str(tmp_path / "c.sqlite")
    code, shown, _ = call("corpus", "build", str(dump), "--out", out)
    assert code == 0
    assert "c.sqlite: 3 pages; 1 redirects; 1 disambiguation pages" in shown
    named = shown.split("corpus ")[-1].strip()

    code, shown, _ = call("corpus", "info", out, "--check")
    assert code == 0
    assert f"corpus {named}" in shown
    assert "dump.jsonl" in shown
    assert "every page is as it was built" in shown

    code, shown, _ = call("corpus", "search", out, "ada king program", "-k", "3")
    assert code == 0
    assert "Ada Lovelace" in shown
    assert "[bold]in Ohio[/bold]" in shown  # no markup, no escape sequence
    assert "\x1b[31m" not in shown
    assert len(shown.splitlines()) < 15  # texts are cut

    assert call("corpus", "search", out, "zzz") == (0, "nothing found\n", "")
    code, shown, _ = call("corpus", "search", out, "ohio", "--full")
    assert shown.rstrip().endswith("Long. Long.")
    code, shown, _ = call("corpus", "open", out, "ada_KING")
    assert shown.startswith("Ada Lovelace (via Ada King)\nShe wrote")
    assert "\x1b" not in shown
    assert call("corpus", "open", out, "ada")[1] == "Ada\nAda may be: Ada (town), Ada Lovelace.\n"


@pytest.mark.parametrize("command", ["build", "search", "open", "info", "serve"])
def test_every_command_explains_itself_with_an_example(call, command):
    code, shown, _ = call("corpus", command, "--help")
    assert code == 0
    assert f"Example:  thinktwice corpus {command}" in shown


def test_errors_are_one_sentence(call, dump, tmp_path):
    out = str(tmp_path / "c.sqlite")
    call("corpus", "build", str(dump), "--out", out)
    code, _, told = call("corpus", "build", str(dump), "--out", out)
    assert (code, told) == (2, f"thinktwice: {out} is there already; replace it with --force.\n")
    assert call("corpus", "build", str(dump), "--out", out, "--force")[0] == 0
    code, _, told = call("corpus", "open", out, "Ada Town")
    assert (code, told) == (1, "thinktwice: no page is called 'Ada Town'. Near: 'Ada', 'Ada (town)', 'Ada Lovelace'.\n")
    code, _, told = call("corpus", "search", str(tmp_path / "none"), "x")
    assert code == 1
    assert "thinktwice corpus build SOURCE" in told
    code, _, told = call("corpus", "info", str(dump))
    assert (code, "is no corpus file" in told) == (1, True)
    code, _, told = call("corpus", "build", "wiki", str(dump), "--out", str(tmp_path / "w"))
    assert (code, "a corpus of its own" in told) == (2, True)
    code, _, told = call("corpus", "serve", out, "--host", "0.0.0.0")
    assert (code, "--expose" in told) == (2, True)


def test_a_world_is_built_as_it_is_opened(call, tmp_path):
    out = str(tmp_path / "w.sqlite")
    assert call("corpus", "build", "wiki:3:40", "--out", out)[0] == 0
    assert "wiki world, seed 3, 40 people" in call("corpus", "info", out)[1]


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
def test_questions_without_paragraphs_are_refused(call, tmp_path):
    simplified = DATA / "hotpotqa/hotpot_dev_v1_simplified.json"
    code, _, told = call("corpus", "build", str(simplified), "--out", str(tmp_path / "c.sqlite"))
    assert (code, "hotpot_dev_distractor_v1.json" in told) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_serve_answers_until_it_is_interrupted(call, dump, tmp_path):
    out = str(tmp_path / "c.sqlite")
    call("corpus", "build", str(dump), "--out", out)
    # Jobs in the background ignore SIGINT, and so would their children.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = f"{heard}\nfrom thinktwice.cli import main; main()"
    command = [sys.executable, "-c", start, "corpus", "serve", out, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[0]
        assert Remote(address).search("program", 1)[0].title == "Ada Lovelace"
        assert "Ada Lovelace" in call("corpus", "search", address, "program")[1]
        assert "corpus " in call("corpus", "info", address)[1]
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (0, "")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
