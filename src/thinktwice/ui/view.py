"""Templates and static files. Law: templates escape everything; a page of `ui` has no inline script or style."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from thinktwice.report.assets import asset
from thinktwice.report.viewer import SCRIPT, STYLE
from thinktwice.show import printable

TYPES = {"js": "text/javascript", "css": "text/css"}
OWN = (
    "ui.css", "playground.css", "dom.js", "runs.js", "live.js", "funnel.js", "playground.js", "pane.js",
)  # fmt: skip
"""The files in `static/`."""


def page(template: str, variables: dict[str, Any], status_code: int = 200) -> HTMLResponse:
    """Return a page made from a template in `templates/`."""
    return HTMLResponse(_environment().get_template(template).render(variables), status_code=status_code)


def message(title: str, words: str, status_code: int) -> HTMLResponse:
    """Return a page that says one thing."""
    return page("message.html.jinja", {"title": title, "words": words, "here": ""}, status_code)


async def static(request: Request) -> Response:
    """Return a style sheet or a script: those of `ui`, and those that the report's pages carry inside."""
    name = request.path_params["name"]
    text = _static(name)
    if text is None:
        return PlainTextResponse("there is no such file", status_code=404)
    return Response(text, media_type=TYPES[name.rpartition(".")[2]], headers={"cache-control": "no-cache"})


def own(name: str) -> str:
    """Return the text of a file in `static/`."""
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


@cache
def _static(name: str) -> str | None:
    if name in OWN:
        return own(name)
    if name in ("style.css", "theme.js"):
        return asset(name)
    return {"viewer.js": SCRIPT, "viewer.css": STYLE}.get(name)


@cache
def _environment() -> Environment:
    def load(name: str) -> str:
        return (files(__package__) / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(load),
    )
    environment.filters |= {"duration": duration, "printable": printable}
    return environment


def duration(seconds: float) -> str:
    """Return seconds as a person says them: "8.4 s", "2 min 05 s", "3 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
