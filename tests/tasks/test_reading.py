import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import reading
from thinktwice.types import Problem


def convert(row):
    question = reading.text_of(row, "question")
    if row.get("useless"):
        raise reading.Omitted("useless")
    return Problem(reading.content_id("t", question), question, reading.text_of(row, "answer"))


def good(n, start=0):
    return [json.dumps({"question": f"q{i}", "answer": str(i)}).encode() for i in range(start, start + n)]


def write(path: Path, lines, end=b"\n") -> Path:
    path.write_bytes(end.join(lines) + end)
    return path


def test_bom_crlf_and_blank_lines_are_no_rows(tmp_path):
    lines = [b"\xef\xbb\xbf" + good(1)[0], b"", *good(3, 1), b"   "]
    got = reading.read(write(tmp_path / "a.jsonl", lines, b"\r\n"), convert)
    assert [p.prompt for p in got.problems] == ["q0", "q1", "q2", "q3"]
    assert got.rows == 4
    assert got.quarantined == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"question": "x", "answer": "1"', "not JSON"),
        (b'{"question": "\xff", "answer": "1"}', "not UTF-8 (byte 0xff at 14)"),
        (b'["x"]', "not a JSON object"),
        (b'{"question": "x"}', "'answer' is missing"),
        (b'{"question": "x", "answer": null}', "'answer' is None, no text"),
        (b'{"question": "x", "answer": " "}', "'answer' is empty"),
        (b'{"question": "x", "answer": NaN}', "NaN is not a value JSON knows"),
        (b'{"question": "x", "answer": "1", "answer": "2"}', "a key stands twice"),
        (b'{"question": "q5", "answer": "another"}', "given to another row"),
        (b"[" * 100_000, "recursion"),
        (b'{"question": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_row_is_quarantined_with_its_line_and_reason(tmp_path, line, reason):
    lines = [*good(100), line, *good(100, 100)]
    aside = tmp_path / "aside" / "bad.jsonl"
    got = reading.read(write(tmp_path / "a.jsonl", lines), convert, quarantine=aside)
    assert len(got.problems) == 200
    assert got.rows == 201
    (bad,) = got.quarantined
    assert bad.line == 101
    assert reason in bad.reason
    assert json.loads(aside.read_text(encoding="utf-8"))["line"] == 101


def test_more_than_one_percent_stops_and_still_leaves_the_quarantine_file(tmp_path):
    bad = [b"{", b"{"]
    kept = reading.read(write(tmp_path / "a.jsonl", [*good(198), *bad]), convert)
    assert len(kept.quarantined) == 2  # 1 % exactly
    with pytest.raises(DataError, match=r"2 quarantined \(line 198: not JSON .*of 199, more than 1%"):
        reading.read(write(tmp_path / "b.jsonl", [*good(197), *bad]), convert, quarantine=tmp_path / "aside")
    assert len((tmp_path / "aside").read_text().splitlines()) == 2


def test_repeated_and_useless_rows_are_counted_apart(tmp_path):
    rows = [*good(3), *good(2), b'{"question": "y", "answer": "1", "useless": true}']
    got = reading.read(write(tmp_path / "a.jsonl", rows), convert)
    assert (len(got.problems), got.repeated, got.omitted, got.quarantined) == (3, 2, {"useless": 1}, ())
    assert "2 repeated rows left out" in str(got)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfe{\x00}\x00", "UTF-16"),
        (b"[{]", "is not JSON"),
        (b"<a><b></a>", "is not XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><r><p ID="1"/></r>', "XML entities"),
    ],
)
def test_an_unreadable_file_is_one_sentence(tmp_path, data, message):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        reading.read(path, convert)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        reading.read(tmp_path / "no.jsonl", convert)


def test_arrays_instances_and_xml(tmp_path):
    rows = [json.loads(line) for line in good(3)]
    for name, text in {
        "array.json": json.dumps(rows),
        "instances.json": json.dumps({"Definition": ["d"], "Instances": rows}, indent=1),
        "lines.json": "\n".join(map(json.dumps, rows)),
        "x.xml": "<r><s>"
        + "".join(f'<p ID="{i}"><question>q{i}</question><answer>{i}</answer></p>' for i in range(3))
        + "</s></r>",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert [p.answer for p in reading.read(tmp_path / name, convert).problems] == ["0", "1", "2"], name


def test_ids_do_not_depend_on_place_or_machine():
    assert reading.content_id("t", "q") == "t-8e35c2cd3bf6641b"
    assert reading.content_id("t", "a", "b") != reading.content_id("t", "ab")


def test_carving_is_by_hash_and_exact():
    problems = [Problem(f"p{i}", f"q{i}", "1") for i in range(50)]
    rest, chosen = reading.carve(problems, 10, "dev")
    assert (len(rest), len(chosen)) == (40, 10)
    again = reading.carve(problems[::-1], 10, "dev")[1]
    assert {p.id for p in again} == {p.id for p in chosen} != {p.id for p in problems[:10]}
    assert reading.carve(problems, 0, "dev") == (problems, [])
    with pytest.raises(DataError):
        reading.carve(problems, 50, "dev")


def test_hub_rows_are_read_by_datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    directory = tmp_path / "set"
    directory.mkdir()
    write(directory / "test.jsonl", good(5))
    got = reading.collect(reading.rows_of_hub(str(directory), None, "test"), convert, source="hub")
    assert [p.answer for p in got.problems] == ["0", "1", "2", "3", "4"]


def test_an_unreachable_hub_names_the_fix(monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"no local directory, .*Give local files with path="):
        list(reading.rows_of_hub("nobody/nothing-here", None, "test"))


def test_a_task_says_how_many_rows_it_could_not_read(tmp_path):
    from thinktwice.tasks import load_task

    rows = [
        json.dumps({"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"}) for n in range(300)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join([*rows[:150], "not json", *rows[150:200]]) + "\n")
    (tmp_path / "test.jsonl").write_text("\n".join(rows[200:]) + "\n")
    task = load_task("gsm8k", path=str(tmp_path), dev=20)
    assert task.quarantined == 1
    assert len(task.splits["train"]) == 180
