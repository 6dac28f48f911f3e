"""thinktwice ui: says where it is, ends cleanly, and names the fix where it cannot begin."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from thinktwice.cli import serve
from thinktwice.errors import ConfigError, RunError


def test_it_prints_its_address_answers_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    code = "from thinktwice.cli import main; main()"
    command = [sys.executable, "-c", code, "ui", "--port", "0", "--runs", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        address = said.split()[0]
        assert address.startswith("http://127.0.0.1:")
        assert not address.endswith(":0")
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"make demo" in answer.read()
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert (rest, complaints) == ("", "")


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RunError, match="--port 0 for a free one"):
        serve.ui(runs=tmp_path, port=taken.getsockname()[1])


def test_other_machines_are_let_in_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--expose"):
        serve.ui(runs=tmp_path, port=0, host="0.0.0.0")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("thinktwice.ui")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"uvicorn is not installed; pip install 'thinktwice\[ui\]'"):
        serve.ui(runs=tmp_path)
