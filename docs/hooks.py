"""Reference pages written from the code: an mkdocs hook.

A line of its own in a page becomes what it names, so that no key, option or default is typed by hand:

    <!-- fields: module:Class [prefix] -->      the fields of a dataclass, with types, defaults and meanings
    <!-- registry: module:TABLE -->             a registry (TASKS, METHODS): each entry with its options
    <!-- commands -->                           every command with its usage and options
    <!-- notebook: path -->                     an executed notebook
    <!-- pages: folder -->                      the pages of a folder, as a list
    <!-- modules: names -->                     the docstrings of modules, and of all modules in packages
    <!-- migration: method -->                  another code's flags, and what becomes of each

In `nav`, `folder/*` stands for the pages of a folder, so that a new decision or lab note needs no second entry.
"""

import base64
import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.exceptions import PluginError

from thinktwice.config import to_dict

ROOT = Path(__file__).parents[1]
TONES = (
    ("seen", "color: #808080; text-decoration-color: #808080"),
    ("learned", "color: #008000; text-decoration-color: #008000"),
    ("gone", "color: #800000; text-decoration-color: #800000; text-decoration: line-through"),
    ("undo", "color: #800000; text-decoration-color: #800000"),
)
"""How Rich writes the styles of `thinktwice.show` as HTML."""
DIRECTIVE = re.compile(
    r"^<!-- (fields|registry|commands|notebook|pages|modules|migration)(?:: (.+?))? -->$", re.MULTILINE
)


def on_config(config: Any) -> Any:
    """Expand `folder/*` in the navigation."""
    config.nav = expanded(config.nav)
    return config


def expanded(nav: Any) -> Any:
    """Return a navigation with every `folder/*` replaced by the pages of the folder."""
    if isinstance(nav, dict):
        return {title: expanded(below) for title, below in nav.items()}
    if not isinstance(nav, list):
        return nav
    whole: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            whole += [{title: f"{entry[:-2]}/{path.name}"} for path, title in titles(entry[:-2])]
        else:
            whole.append(expanded(entry))
    return whole


def titles(folder: str) -> list[tuple[Path, str]]:
    """Return the pages of a folder of docs/, README apart, each with its title."""
    paths = [path for path in sorted((ROOT / "docs" / folder).glob("*.md")) if path.name != "README.md"]
    return [(path, path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")) for path in paths]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace every directive of a page."""

    def written(match: re.Match[str]) -> str:
        words = (match[2] or "").split()
        try:
            return WRITERS[match[1]](*words)
        except (AttributeError, ImportError, KeyError, OSError, TypeError) as error:
            raise PluginError(f"{page.file.src_uri}: {match[0]}: {type(error).__name__}: {error}") from error

    return DIRECTIVE.sub(written, markdown)


@cache
def package() -> Any:
    """Read the package's source, once."""
    return griffe.load("thinktwice", search_paths=[ROOT / "src"])


def source(name: str) -> Any:
    """Return an object of the package as its source has it; names that are only imported are followed."""
    found = package()
    for part in name.split(".")[1:]:
        found = found.members[part]
        found = found.final_target if found.is_alias else found
    return found


def fields(name: str, prefix: str = "") -> str:
    """Return a table of a dataclass's fields; what they mean is the text below each in the source."""
    module_name, _, class_name = name.partition(":")
    cls = getattr(import_module(module_name), class_name)
    documented = source(f"{module_name}.{class_name}").members
    rows = []
    for field in dataclasses.fields(cls):
        written = documented[field.name]
        meaning = written.docstring.value if written.docstring else ""
        rows.append((f"`{prefix}{field.name}`", code(str(written.annotation)), default_of(field), cell(meaning)))
    return table(("key", "type", "default", "meaning"), rows)


def registry(name: str) -> str:
    """Return each entry of a registry: its names, what it is, its options. Names of one function stand together."""
    module_name, _, attribute = name.partition(":")
    entries: dict[Any, list[tuple[str, str]]] = {}
    for key, home in getattr(import_module(module_name), attribute).items():
        inner, _, member = home.partition(":")
        found = getattr(import_module(inner), member)
        entries.setdefault(getattr(found, "func", found), []).append((key, home))  # partial(...): what it calls
    parts = []
    for called, names in entries.items():
        first, home = names[0]
        lines = (inspect.getdoc(called) or "").splitlines()
        parts.append(f"### {', '.join(f'`{key}`' for key, _ in names)} {{ #{first} }}")
        parts.append(lines[0] if lines else "")
        parts.append(fields(home) if dataclasses.is_dataclass(called) else options(home))
    return "\n\n".join(parts)


def options(home: str) -> str:
    """Return a table of a function's options, from its signature and the Args section of its docstring."""
    module_name, _, attribute = home.partition(":")
    loader = getattr(import_module(module_name), attribute)
    called = getattr(loader, "func", loader)
    docstring = source(f"{called.__module__}.{called.__name__}").docstring
    sections = docstring.parse("google") if docstring else []
    described = {a.name: a.description for s in sections if s.kind.value == "parameters" for a in s.value}
    rows = []
    for parameter in inspect.signature(loader).parameters.values():
        if parameter.name not in described:
            raise KeyError(f"{home}: the option {parameter.name!r} has no line under Args in the docstring")
        default = "**required**" if parameter.default is parameter.empty else value_of(parameter.default)
        kind = inspect.formatannotation(parameter.annotation)
        rows.append((f"`{parameter.name}`", code(kind), default, cell(described[parameter.name])))
    return table(("option", "type", "default", "meaning"), rows)


def commands() -> str:
    """Return every command of the command line: usage, what it does, arguments and options, an example."""
    from thinktwice.cli import build

    parts = []
    for name, command in every(typer.main.get_command(build())):
        with typer.Context(command, info_name=f"thinktwice {name}") as context:
            usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
        rows = []
        for parameter in command.params:
            if parameter.name == "help" or getattr(parameter, "hidden", False):
                continue
            spelled = (
                [*parameter.opts, *parameter.secondary_opts]
                if parameter.param_type_name == "option"
                else [parameter.name.upper()]
            )
            given = "**required**" if parameter.required else value_of(parameter.default)
            if given in ("`null`", "`false`"):
                given = ""
            rows.append((", ".join(f"`{s}`" for s in spelled), given, cell(getattr(parameter, "help", None) or "")))
        example = (command.epilog or "").removeprefix("Example:").strip()
        head = f"##{'#' * name.count(' ')} `thinktwice {name}` {{ #{name.replace(' ', '-')} }}"
        text = [head, "", command.help or "", "", "```console", f"$ {usage}", "```"]
        text += ["", table(("argument or option", "default", "meaning"), rows)] if rows else []
        text += ["", "For example:", "", "```console", f"$ {example}", "```", ""] if example else [""]
        parts.append("\n".join(text))
    return "\n".join(parts)


def every(application: Any) -> Iterator[tuple[str, Any]]:
    """Yield every command with its whole name; one that has commands of its own stands before them."""
    for name, command in application.commands.items():
        yield name, command
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", below) for inner, below in every(command))


def notebook(path: str) -> str:
    """Return an executed notebook as a page; its pictures go into `<img>`, so that none leaks its style."""
    return "\n".join(_cells(json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]))


def pages(folder: str) -> str:
    """Return the pages of a folder as a list of links."""
    return "\n".join(f"- [{title}]({path.name})" for path, title in titles(folder))


def _cells(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    for each in cells:
        text = "".join(each["source"])
        if each["cell_type"] == "markdown":
            yield (
                text.replace("](../docs/", "](../") + "\n"
            )  # the page stands in docs/start/, the notebook in examples/
            continue
        yield f"```python\n{text}\n```\n"
        for output in each.get("outputs", ()):
            data = output.get("data", {})
            if "image/svg+xml" in data:
                picture = base64.b64encode("".join(data["image/svg+xml"]).encode()).decode()
                title = re.search(r"<title>(.*?)</title>", "".join(data["image/svg+xml"]))
                alternative = title[1] if title else "figure"
                yield f'<p><img class="plot" alt="{alternative}" src="data:image/svg+xml;base64,{picture}"></p>\n'
            elif "text/html" in data:
                yield f'<div class="output">{coloured("".join(data["text/html"]))}</div>\n'
            else:
                shown = "".join(output.get("text") or data.get("text/plain") or ())
                yield f'<pre class="output">{escape(shown.rstrip())}</pre>\n'


def coloured(page: str) -> str:
    """Return Rich's HTML in the site's own colours, which are readable in light and dark."""
    page = re.sub(r'<pre style="[^"]*">', '<pre class="trace">', page)
    for kind, style in TONES:
        page = page.replace(f'style="{style}"', f'class="{kind}"')
    return page


def modules(*names: str) -> str:
    """Return the reference of modules of the package; a package stands for all that is in it."""
    root = ROOT / "src/thinktwice"
    found = []
    for name in names:
        path = root / name.replace(".", "/")
        if not path.is_dir() and not path.with_suffix(".py").is_file():
            raise KeyError(f"there is no module thinktwice.{name}")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        inside = [".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for f in files]
        found += [f"::: thinktwice.{module}" for module in sorted(inside) if not module.endswith("__main__")]
    return "\n\n".join(found)


def migration(method: str) -> str:
    """Return a table of the flags that `thinktwice migrate` reads, by script."""
    rows = []
    for flag in import_module(f"thinktwice.cli.migrate.{method}").FLAGS:
        unless = [value_of(value) for value in flag.harmless if value not in (False, "")]
        parts = [f"{flag.becomes}."] if flag.becomes else [] if flag.refused else ["Nothing."]
        parts += [flag.differs[:1].upper() + flag.differs[1:]] if flag.differs else []
        but = f" (but for {', '.join(unless)})" if unless else ""
        parts += [f"**Refused**{but}: {flag.refused}"] if flag.refused else []
        rows.append((", ".join(map(code, flag.spelled)), ", ".join(flag.scripts), cell(" ".join(parts))))
    return table(("flag", "of", "here"), rows)


def default_of(field: "dataclasses.Field[Any]") -> str:
    """Return a field's default as it would be written in YAML."""
    if field.default is not dataclasses.MISSING:
        return value_of(field.default)
    return "**required**" if field.default_factory is dataclasses.MISSING else value_of(field.default_factory())


def value_of(value: Any) -> str:
    """Return a value as it would be written in YAML, as code; one with parts of its own is not spelled out."""
    if isinstance(value, str | Path) and str(value):
        return code(str(value))
    text = json.dumps(to_dict(value), ensure_ascii=False)
    nested = dataclasses.is_dataclass(value) or "{" in text.strip("{}") or len(text) > 80
    return "its own defaults" if nested else code(text)


def code(text: str) -> str:
    """Return text as inline code that a table cell can hold."""
    return f"`{text}`".replace("|", "\\|") if "|" in text else f"`{text}`"


def cell(text: str) -> str:
    """Return text of several lines as one that a table cell can hold."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


WRITERS: dict[str, Callable[..., str]] = {
    "fields": fields,
    "registry": registry,
    "commands": commands,
    "notebook": notebook,
    "pages": pages,
    "modules": modules,
    "migration": migration,
}
