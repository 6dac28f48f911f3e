import sys
from collections.abc import Callable

import pytest

from thinktwice import cli


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["thinktwice", *words])
        code: object = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return int(str(code or 0)), shown.out, shown.err

    return run
