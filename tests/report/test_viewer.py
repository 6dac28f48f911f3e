import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import Note, TraceRecord
from thinktwice.report import viewer
from thinktwice.report.spelling import Speller
from thinktwice.run import Run
from thinktwice.types import Rewind, Score, Step, Trace

RECIPE = Recipe(
    name="sample",
    task=Spec("arith", {"operations": [1, 6]}),
    method=Spec("backtrack", {}),
    arms={"control": Arm(method={"name": "baseline"}), "backtrack": Arm()},
    evaluation=Evaluation(levels=(4, 8), in_distribution=4),
    headline=Headline("backtrack", "control", 8),
)
WORDS: dict[int, bytes] = dict(enumerate([b"Ann ", b"has ", b"3", b"4", b".\n", b"<undo>", b"<end>"]))
WORDS |= {100 + byte: bytes([byte]) for byte in range(128, 256)}
UNDO, END = 5, 6


def decode(ids: Any) -> str:
    return b"".join(WORDS[i] for i in ids).decode("utf-8", "replace")


def spell(text: str) -> tuple[int, ...]:
    return tuple(100 + byte for byte in text.encode())


def record(key: str, *steps: Step, level: int = 8, right: bool = True, failure: str = "", **more: Any) -> TraceRecord:
    score = Score(float(right), "3", "stated 3")
    trace = Trace(key, tuple(steps), **more)
    return TraceRecord(key, "backtrack", level, f"How many? ({key})", "3", trace, score, failure)


def write(root: Path, **arms: list[TraceRecord]) -> Run:
    with Run.open(root, to_dict(RECIPE)) as run:
        for arm, rows in arms.items():
            run.traces(arm).append([to_dict(row) for row in rows])
    return Run.load(root)


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.blocks: dict[str, str] = {}
        self.tags: list[str] = []
        self.text = ""
        self._open: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            assert dict(attrs)["type"] == "text/plain"
            self._open = dict(attrs)["id"]

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            assert re.fullmatch(r"[A-Za-z0-9+/=]+", data)
            self.blocks[self._open] = self.blocks.get(self._open, "") + data
        else:
            self.text += data

    def data(self, name: str) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self.blocks[name])))


def steps_of(page: Reader, problem: int = 0, arm: int = 0) -> list[dict[str, Any]]:
    names = ("kind", "text", "flags", "tokens", "cuts", "nats", "rewind", "sources")
    row = page.data("traces-0")["traces"][problem][arm]
    return [dict(zip(names, step, strict=True)) for step in row[4]]


def embed(run: Run, decode: Any = decode) -> Reader:
    return Reader(viewer.embed(run, RECIPE, decode, {"backtrack": 0, "control": 1}))


def test_a_trace_is_embedded_token_by_token(tmp_path: Path) -> None:
    steps = (
        Step("text", "Ann has ", (0, 1), logprobs=(-0.0715, -2.0)),
        Step("error", "4", (3,), kept=False, logprobs=(-0.5,)),
        Step("undo", "<undo>", (UNDO,), kept=False, logprobs=(-0.1,), rewind=Rewind(2, (3,))),
        Step("text", "3.\n", (2, 4, END), logprobs=(-0.25, 0.0, -0.0004)),
    )
    page = embed(write(tmp_path / "r", backtrack=[record("p", *steps)]))
    assert page.data("traces-0")["traces"][0][0][:4] == ["3", "stated 3", 1.0, None]
    said = steps_of(page)
    assert [s["kind"] for s in said] == ["text", "error", "undo", "text"]
    assert [s["flags"] for s in said] == [3, 1, 1, 3]
    assert [s["cuts"] for s in said] == [[4, 4], [1], [6], [1, 2, 0]]  # the end token has no text
    assert [s["nats"] for s in said] == [[72, 2000], [500], [100], [250, 0, 0]]
    assert [s["rewind"] for s in said] == [0, 0, [2, ["4"]], 0]


def test_characters_of_several_tokens_stay_whole_in_utf16(tmp_path: Path) -> None:
    ids = (0, *spell("é🙂"), 2)
    page = embed(write(tmp_path / "r", backtrack=[record("p", Step("text", decode(ids), ids))]))
    assert steps_of(page)[0]["cuts"] == [4, 0, 1, 0, 0, 0, 2, 1]


def test_a_character_that_a_retraction_splits_belongs_to_the_step_that_completes_it() -> None:
    smile = spell("🙂")
    steps = [
        {"text": "Ann ", "token_ids": [0, *smile[:2]], "kept": True},
        {"text": decode((*smile[2:], 3)), "token_ids": [*smile[2:], 3], "kept": False},
        {"text": "🙂3", "token_ids": [*smile[2:], 2], "kept": True},
    ]
    assert Speller(decode).cuts(steps) == [[4, 0, 0], [1, 1, 1], [0, 2, 1]]


def test_a_character_that_is_never_completed_is_shown_where_it_broke_off() -> None:
    ids = [2, *spell("🙂")[:2]]
    (cuts,) = Speller(decode).cuts([{"text": decode(ids), "token_ids": ids, "kept": True}])
    assert cuts is not None
    assert sum(cuts) == len(decode(ids))


def test_a_decoder_that_looks_at_what_came_before_is_given_it() -> None:
    def sentence(ids: Any) -> str:  # as SentencePiece: no space before the first word
        return "".join(f" {decode((i,)).strip()}" for i in ids).lstrip()

    steps = [
        {"text": "Ann has", "token_ids": [0, 1], "kept": True},
        {"text": "4", "token_ids": [3], "kept": False},
        {"text": " 3 .", "token_ids": [2, 4], "kept": True},
    ]
    assert Speller(sentence).cuts(steps) == [[3, 4], [1], [2, 2]]


def test_text_that_the_ids_do_not_spell_stays_in_one_piece(tmp_path: Path) -> None:
    run = write(tmp_path / "r", backtrack=[record("p", Step("text", "Ben has ", (0, 1), rewind=Rewind(1, (3,))))])
    (step,) = steps_of(embed(run))
    assert (step["cuts"], step["tokens"], step["text"]) == (0, 2, "Ben has ")
    (step,) = steps_of(embed(run, decode=None))
    assert (step["cuts"], step["rewind"]) == (0, [1, ["token 3"]])


def test_the_index_has_what_the_filters_ask(tmp_path: Path) -> None:
    undone = (
        Step("error", "4", (3,), kept=False),
        Step("undo", "<undo>", (UNDO,), kept=False),
        Step("undo", "<undo>", (UNDO,), kept=False),
        Step("text", "3", (2,), logprobs=(-1.5,)),
        Step("observation", "4", (3,), sampled=False),
    )
    rows = [record("a", *undone), record("b", right=False, failure="no answer", level=4, stop="budget")]
    unscored = to_dict(record("c", stop="error", error="it broke"))
    run = write(tmp_path / "r", backtrack=rows, control=rows[1:])
    with Run.open(tmp_path / "r", to_dict(RECIPE)) as writer:
        writer.traces("control").append([{**unscored, "score": {**unscored["score"], "scored": False}}])
    index = embed(run).data("traces-index")
    assert (index["keys"], index["levels"]) == (["b", "c", "a"], [4, 8, 8])
    assert (index["pair"], index["level"]) == (["backtrack", "control"], 8)
    control, backtrack = index["arms"]
    assert (control["name"], control["colour"], backtrack["name"], backtrack["colour"]) == (
        "control",
        1,
        "backtrack",
        0,
    )
    assert (control["right"], backtrack["right"]) == ("0u-", "0-1")
    assert [index["failures"][n] for n in backtrack["failure"]] == ["no answer", "", ""]
    assert [index["stops"][n] for n in control["stop"]] == ["budget", "error", "done"]
    assert (backtrack["back"], backtrack["tokens"], backtrack["nats"]) == ([0, 0, 1], [0, 0, 4], [0, 0, 1500])


def test_a_damaged_row_is_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = write(tmp_path / "r", backtrack=[record(k, Step("text", "3", (2,))) for k in "abc"])
    path = run.traces("backtrack").path
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace('"3"', '"4"')  # its check no longer fits
    path.write_text("\n".join([*lines, "not json"]) + '\n{"key": "torn')
    with Run.open(tmp_path / "other", to_dict(RECIPE)) as other:
        other.traces("backtrack").append([{"key": "strange", "trace": 3}, to_dict(record("a"))])
    index = embed(run).data("traces-index")
    assert (index["keys"], index["arms"][0]["damaged"]) == (["a", "c"], 2)
    index = embed(Run.load(tmp_path / "other")).data("traces-index")
    assert (index["keys"], index["arms"][0]["damaged"]) == (["a"], 1)


def test_rows_of_an_older_run_are_shown(tmp_path: Path) -> None:
    row = to_dict(record("a", Step("text", "3", (2,))))
    del row["failure"]
    for name in ("logprobs", "rewind"):
        del row["trace"]["steps"][0][name]
    with Run.open(tmp_path / "r", to_dict(RECIPE)) as run:
        run.traces("backtrack").append([row])
    (step,) = steps_of(embed(Run.load(tmp_path / "r")))
    assert (step["text"], step["cuts"], step["nats"], step["rewind"]) == ("3", [1], 0, 0)


def test_nothing_a_model_wrote_leaves_its_block(tmp_path: Path) -> None:
    attack = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>\u2028\ud800"
    row = to_dict(record("a", Step("text", attack, (2,)), failure=attack[:-1], error=attack[:-1], stop="error"))
    row |= {"question": attack[:-1], "reference": attack[:-1], "key": attack[:-1]}
    row["score"] |= {"answer": attack[:-1], "why": attack[:-1]}
    row["trace"]["steps"][0] |= {"kind": attack[:-1], "text": attack[:-1]}
    with Run.open(tmp_path / "r", to_dict(RECIPE)) as run:
        run.traces("backtrack").append([row])
    page = embed(Run.load(tmp_path / "r"))  # the reader refuses anything but base64 in a block
    assert set(page.blocks) == {"traces-index", "traces-0"}
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert "alert" not in page.text
    assert steps_of(page)[0]["kind"] == attack[:-1]


def test_the_same_run_gives_the_same_bytes_in_blocks_of_64(tmp_path: Path) -> None:
    run = write(tmp_path / "r", backtrack=[record(f"p{i}", Step("text", "3", (2,))) for i in range(130)])
    once, again = (viewer.embed(Run.load(run.root), RECIPE, decode, {}) for _ in range(2))
    assert once == again
    page = Reader(once)
    assert set(page.blocks) == {"traces-index", "traces-0", "traces-1", "traces-2"}
    assert [len(page.data(f"traces-{n}")["traces"]) for n in range(3)] == [64, 64, 2]
    assert page.data("traces-2")["questions"] == ["How many? (p128)", "How many? (p129)"]


def test_a_run_without_traces_says_so(tmp_path: Path) -> None:
    page = embed(write(tmp_path / "r"))
    assert "No traces are in this run yet." in page.text
    assert "form" not in page.tags


@pytest.mark.parametrize("word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:"])
def test_the_program_has_no_way_to_run_what_it_reads(word: str) -> None:
    assert word not in viewer.SCRIPT.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "</script" not in viewer.SCRIPT
    assert "url(" not in viewer.STYLE
    assert "@import" not in viewer.STYLE


def test_partly_right_answers_turns_and_marks_are_columns(tmp_path: Path) -> None:
    steps = (
        Step("action", "<search>", (0,)),
        Step("observation", "Ann", (0,), sampled=False, sources=("Ann", "Ben")),
        Step("answer", "3", (2,)),
    )
    notes = (Note(0, "search", "Ann", "exact later"), Note(1, "observation", "", "error"), Note(2, "answer", "3"))
    plain = record("p", *steps)
    plain = replace(plain, support=("Ann",))
    graded = replace(plain, score=Score(0.5, "3", "F1"), notes=notes)
    page = embed(write(tmp_path / "r", backtrack=[graded], control=[plain]))
    index = page.data("traces-index")
    other, arm = index["arms"]
    assert (arm["right"], other["right"]) == ("p", "1")
    assert arm["turns"] == ["Sa"]
    assert "turns" not in other
    assert [index["marks"][n] for n in arm["marks"][0]] == ["exact later", "error"]
    block = page.data("traces-0")
    assert block["support"] == [["Ann"]]
    assert block["traces"][0][1][5][0] == [0, "search", "Ann", "exact later"]
    assert [step["sources"] for step in steps_of(page, arm=1)] == [0, ["Ann", "Ben"], 0]


@pytest.mark.parametrize("damage", [{"notes": [{"step": "x"}]}, {"notes": [{"what": "s"}]}, {"support": [1]}])
def test_a_row_with_damaged_notes_is_left_out_and_counted(tmp_path: Path, damage: dict[str, Any]) -> None:
    run = write(tmp_path / "r", backtrack=[record("p", Step("text", "3", (2,))), record("q", Step("text", "3", (2,)))])
    path = run.root / "traces" / "backtrack.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[0]["check"], rows[1]["check"]
    path.unlink()
    with Run.open(run.root, to_dict(RECIPE)) as again:
        again.traces("backtrack").append([{**rows[0], **damage}, rows[1]])
    (arm,) = embed(Run.load(run.root)).data("traces-index")["arms"]
    assert arm["damaged"] == 1
