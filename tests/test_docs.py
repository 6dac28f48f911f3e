import contextlib
import importlib.util
import io
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$"
    r"(?:\n\n(?P=indent)``` \{ \.text \.output \}\n(?P<output>.*?)^(?P=indent)```$)?",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path) -> list[tuple[int, str, str | None]]:
    """Return (line, code, what it must print) of each Python block that is written in the page itself."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        code = textwrap.dedent(match["code"])
        if re.match(r"(python|py)\b", match["info"].strip()) and "--8<--" not in code:
            line = text.count("\n", 0, match.start()) + 2
            found.append((line, code, match["output"] and textwrap.dedent(match["output"])))
    return found


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, code, output in blocks(page):
        compiled = compile("\n" * (line - 1) + code, str(page), "exec")
        if code.startswith("# not run: "):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compiled, names)
        if output is not None:
            assert printed.getvalue().rstrip() == output.rstrip(), f"{page}:{line}"


def test_an_unknown_command_option_key_or_file_is_found() -> None:
    checks = load("checks")
    page = """
`thinktwice runn x` and `thinktwice show --retract` and `src/thinktwice/nothing.py`
`thinktwice corpus biuld x` and `thinktwice corpus search wiki --ks 3` and `thinktwice corpus search wiki x -k 3`

```console
$ thinktwice run recipes/backtrack.yaml train.learning_rate=1e-3
$ echo a question | thinktwice solve - --colour
$ thinktwice run recipes/backtrack.yaml train.lr=1e-3
```
"""
    found = list(checks.findings(page))
    for part in ("command 'runn'", "option '--retract'", "nothing.py", "learning_rate", "option '--colour'"):
        assert [f for f in found if part in f], part
    for part in ("corpus has no command 'biuld'", "corpus search has no option '--ks'"):
        assert [f for f in found if part in f], part
    assert len(found) == 7


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
def test_what_the_pages_outside_the_site_name_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert list(load("checks").findings(text)) == []
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


def test_a_reference_table_says_what_the_code_says() -> None:
    hooks = load("hooks")
    recipe = hooks.fields("thinktwice.config.recipe:Decode", "decode.")
    assert "| `decode.max_new_tokens` | `int` | `256` | Budget of sampled tokens a problem" in recipe
    tasks = hooks.registry("thinktwice.tasks:TASKS")
    assert "| `seed` | `int` | `0` | other seeds, other problems. |" in tasks
    assert "### `svamp`, `addsub`, " in tasks  # one function, one table
    assert "| `mask_errors` | `bool` | `true` | Whether the mistakes" in hooks.fields(
        "thinktwice.methods.backtrack:Backtrack"
    )
    with pytest.raises(KeyError, match="'problem' has no line under Args"):
        hooks.options("thinktwice.tasks.gsm8k:score")
    commands = hooks.commands()
    assert "| `--runs` | `runs` |" in commands
    assert "| `--retracted` |  | Only traces in which something was taken back. |" in commands
    for name in load("checks").known():
        assert f"## `thinktwice {name}`" in commands


def test_every_part_of_the_package_is_in_the_reference() -> None:
    pages = "".join(p.read_text() for p in (DOCS / "reference/api").glob("*.md"))
    named = {
        name.partition(".")[0] for names in re.findall(r"<!-- modules: (.+?) -->", pages) for name in names.split()
    }
    package = ROOT / "src/thinktwice"
    parts = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/__init__.py")}
    assert parts - {"__init__", "__main__", "cli", "ui"} == named
    assert "::: thinktwice.decode.loop" in load("hooks").modules("decode").splitlines()
