"""The trace viewer: every trace of a run, inside its page. Law: what a model wrote is data, never markup or code.

The page carries one small index (what the filters and the list need) and blocks of 64 problems with the full traces,
each gzipped and base64-encoded in a `<script type="text/plain">`; the viewer unpacks a block when it is looked at.

A block is JSON: `questions`, `references`, `support` (titles), and `traces[problem][arm]`: null or `[answer, why,
value, error, steps, notes]`; a step is `[kind, text, flags, tokens, cuts, nats, rewind, sources]`: flags 1 = sampled,
2 = kept; tokens counts them; cuts are lengths in UTF-16 code units or 0 when unknown; nats are thousandths of minus the
log-probability or 0; rewind is `[n, [banned texts]]` or 0; sources are titles or 0; a note is `[step, what, text,
mark]`. `store.js` reads this.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from thinktwice.config import Recipe
from thinktwice.report.spelling import Speller
from thinktwice.run import Run
from thinktwice.show import Decode

__all__ = ["SCRIPT", "STYLE", "embed"]

PARTS = (
    "text.js",
    "find.js",
    "tape.js",
    "events.js",
    "episode.js",
    "store.js",
    "replay.js",
    "listing.js",
    "detail.js",
    "filters.js",
    "viewer.js",
)
BLOCK = 64
"""Problems a block."""
_SAID = ("text", "mark")
PREVIEW = 140
"""Characters of a question that the list shows."""


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


SCRIPT = "(() => {\n'use strict';\n" + "\n".join(map(_file, PARTS)) + "})();\n"
"""The viewer's program; it does nothing on a page without `<section id="traces">` but define `window.thinktwice`."""
STYLE = _file("viewer.css")


def embed(run: Run, recipe: Recipe, decode: Decode | None, colours: Mapping[str, int]) -> Markup:
    """Return the viewer's HTML with all traces of a run; the same run gives the same bytes.

    Args:
        run: read, never written.
        recipe: orders the arms, and names the pair that is shown first.
        decode: ids -> text, to cut steps into tokens; None shows each step in one piece.
        colours: arm -> number of its colour (`--a0` to `--a7`).
    """
    names = [name for name in recipe.arms if name in run.trace_names()]
    names += [name for name in run.trace_names() if name not in names]
    arms = [_Arm(name, run) for name in names]
    fullest = sorted(arms, key=lambda arm: -len(arm.rows))
    keys = list(dict.fromkeys(key for arm in fullest for key in arm.rows))
    if not keys:
        return Markup(_file("viewer.html").partition("<!-- viewer -->")[0]) + Markup(
            '<p class="missing">No traces are in this run yet.</p></section>'
        )
    first = [next(arm.rows[key] for arm in arms if key in arm.rows) for key in keys]
    failures, stops, marks = _Numbers(""), _Numbers("done"), _Numbers("")
    plan = recipe.headline
    index = {
        "size": BLOCK,
        "pair": [name for name in ((plan.a, plan.b) if plan else ()) if name in names],
        "level": plan.level if plan else None,
        "keys": keys,
        "levels": [row["level"] for row in first],
        "questions": [" ".join(row["question"][: 4 * PREVIEW].split())[:PREVIEW] for row in first],
        "arms": [
            {"name": arm.name, "colour": colours.get(arm.name, 7), "damaged": arm.damaged}
            | _columns([arm.rows.get(key) for key in keys], failures, stops, marks)
            for arm in arms
        ],
        "failures": failures.names,
        "marks": marks.names,
        "stops": stops.names,
    }
    speller = Speller(decode) if decode else None
    pieces = [_file("viewer.html"), _data("traces-index", index)]
    for start in range(0, len(keys), BLOCK):
        part = slice(start, start + BLOCK)
        block = {
            "questions": [row["question"] for row in first[part]],
            "references": [row["reference"] for row in first[part]],
            "support": [row.get("support", ()) for row in first[part]],
            "traces": [[_trace(arm.rows.get(key), speller) for arm in arms] for key in keys[part]],
        }
        pieces.append(_data(f"traces-{start // BLOCK}", block))
    return Markup("".join([*pieces, "</section>"]))


class _Arm:
    """The rows of one arm that can be shown, and how many cannot."""

    def __init__(self, name: str, run: Run):
        self.name = name
        rows = run.traces(name)
        written = rows.path.read_bytes().count(b"\n")
        self.rows = {key: row for key, row in rows.done.items() if _whole(row)}
        self.damaged = written - len(self.rows)


def _whole(row: Mapping[str, Any]) -> bool:
    """Say whether a row has what the viewer reads, in the types it expects."""
    try:
        score, trace = row["score"], row["trace"]
        return (
            all(isinstance(row[name], str) for name in ("question", "reference"))
            and isinstance(row["level"], int)
            and isinstance(score["value"], int | float)
            and isinstance(trace["stop"], str)
            and all(isinstance(title, str) for title in row.get("support", ()))
            and all(map(_noted, row.get("notes", ())))
            and all(
                isinstance(step["text"], str)
                and isinstance(step["kind"], str)
                and isinstance(step["kept"], bool)
                and isinstance(step["sampled"], bool)
                and all(isinstance(i, int) for i in step["token_ids"])
                and all(isinstance(title, str) for title in step.get("sources", ()))
                and (not step.get("rewind") or isinstance(step["rewind"]["n"], int))
                for step in trace["steps"]
            )
        )
    except (KeyError, TypeError):
        return False


def _noted(note: Mapping[str, Any]) -> bool:
    return isinstance(note["step"], int) and all(isinstance(note.get(name, ""), str) for name in ("what", *_SAID))


class _Numbers:
    """Words as numbers, in the order they are met."""

    def __init__(self, first: str):
        self.names = [first]
        self._known = {first: 0}

    def of(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = len(self.names)
            self.names.append(name)
        return self._known[name]


def _columns(
    rows: Sequence[Mapping[str, Any] | None], failures: _Numbers, stops: _Numbers, marks: _Numbers
) -> dict[str, Any]:
    """Return what the filters and the list know of an arm, a column each; an absent row is "-" and zeros.

    `right`: 1, 0, p(artly), u(nscored); `turns`: a letter a turn, a capital where it has a mark; `marks`: all of them.
    """
    right, failed, stopped, back, tokens, nats = "", [], [], [], [], []
    turns, marked = [], []
    for row in rows:
        steps = row["trace"]["steps"] if row else []
        score = row["score"] if row else {}
        notes = row.get("notes", ()) if row else ()
        right += "-" if row is None else outcome(score)
        failed.append(failures.of(str(row.get("failure") or "")) if row else 0)
        stopped.append(stops.of(row["trace"]["stop"]) if row else 0)
        back.append(_retractions(steps))
        tokens.append(sum(len(step["token_ids"]) for step in steps if step["sampled"]))
        nats.append(max((n for step in steps if step["kept"] for n in _nats(step) or ()), default=0))
        turns.append("".join(map(_letter, notes)))
        marked.append(sorted({marks.of(note["mark"]) for note in notes if note.get("mark")}))
    told = {"turns": turns, "marks": marked} if any(turns) else {}
    return {"right": right, "failure": failed, "stop": stopped, "back": back, "tokens": tokens, "nats": nats, **told}


def outcome(score: Mapping[str, Any]) -> str:
    """Return what became of an answer as a letter: 1 right, 0 wrong, p partly right, u unscored."""
    if not score.get("scored", True):
        return "u"
    return "1" if score["value"] == 1 else "p" if 0 < score["value"] < 1 else "0"


def _letter(note: Mapping[str, Any]) -> str:
    """Return a turn's letter; nothing for a note on something else."""
    if note["what"] == "observation":
        return ""
    letter = {"search": "s", "open": "o", "answer": "a"}.get(note["what"], "x")
    return letter.upper() if note.get("mark") else letter


def _retractions(steps: Sequence[Mapping[str, Any]]) -> int:
    """Count how often something was taken back: runs of undo tokens."""
    kinds = [step["kind"] for step in steps]
    return sum(kind == "undo" and (i == 0 or kinds[i - 1] != "undo") for i, kind in enumerate(kinds))


def _trace(row: Mapping[str, Any] | None, speller: Speller | None) -> list[Any] | None:
    if row is None:
        return None
    score, trace = row["score"], row["trace"]
    steps = trace["steps"]
    cuts: Iterable[list[int] | None] = speller.cuts(steps) if speller else [None] * len(steps)
    return [
        score.get("answer"),
        str(score.get("why") or ""),
        score["value"],
        trace.get("error"),
        [_step(step, cut, speller) for step, cut in zip(steps, cuts, strict=True)],
        [[note["step"], note["what"], *(note.get(name, "") for name in _SAID)] for note in row.get("notes", ())],
    ]


def _step(step: Mapping[str, Any], cuts: list[int] | None, speller: Speller | None) -> list[Any]:
    """Return a step as the viewer reads it; what an older run did not write down is 0."""
    rewind = step.get("rewind")
    taken: Any = 0
    if rewind:
        taken = [rewind["n"], [speller.name(i) if speller else f"token {i}" for i in rewind.get("ban", ())]]
    flags = step["sampled"] + 2 * step["kept"]
    sources = step.get("sources") or 0
    return [step["kind"], step["text"], flags, len(step["token_ids"]), cuts or 0, _nats(step) or 0, taken, sources]


def _nats(step: Mapping[str, Any]) -> list[int] | None:
    """Return minus the log-probability of each token in thousandths, or None when not every token's is known."""
    known = step.get("logprobs")
    if not known or len(known) != len(step["token_ids"]):
        return None
    try:
        return [min(round(-1000 * value), 99_999) if value < 0 else 0 for value in known]
    except (TypeError, OverflowError, ValueError):
        return None


def _data(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{packed}</script>\n'
