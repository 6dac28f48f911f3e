import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.run import Rows

ROWS = [{"key": f"p{i}", "reply": "ünï\u2028code\n" * i, "value": i / 3} for i in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "arm.jsonl"
    Rows(path, "key", writable=True).append(ROWS)
    return path


def test_rows_come_back_as_they_were(path: Path) -> None:
    assert list(Rows(path, "key", writable=True).done.values()) == ROWS


def test_cut_anywhere_the_whole_rows_before_survive_and_work_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # for speed: the cut is made by hand here
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        rows = Rows(path, "key", writable=True)
        assert list(rows.done.values()) == ROWS[: whole[:length].count(b"\n")]
        rows.append([row for row in ROWS if row["key"] not in rows.done])
        assert path.read_bytes() == whole
    assert not list(path.parent.glob("*damaged*"))  # being killed is not damage


@settings(max_examples=60)
@given(data=st.data())
def test_no_flipped_bit_gets_through(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("rows") / "arm.jsonl"
    Rows(path, "key", writable=True).append(ROWS)
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    by_key = {row["key"]: row for row in ROWS}
    found = Rows(path, "key", writable=False).done
    assert all(by_key[key] == row for key, row in found.items())
    assert len(found) in (2, 3)
    assert path.read_bytes() == raw  # reading repairs nothing


def test_a_damaged_file_is_kept_and_reported(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(path.read_text().replace("p1", "p9"))
    assert list(Rows(path, "key", writable=True).done) == ["p0", "p2", "p3"]
    assert "1 damaged lines left out" in caplog.text
    assert "p9" in path.with_name("arm.jsonl.damaged-1").read_text()
    assert "p9" not in path.read_text()


def test_a_key_is_written_once(path: Path) -> None:
    rows = Rows(path, "key", writable=True)
    for bad in ([{"key": "p0"}], [{"key": "new"}, {"key": "new"}], [{"other": 1}]):
        with pytest.raises(ValueError, match="missing its key or already there"):
            rows.append(bad)
    with pytest.raises(ValueError, match="Out of range"):
        rows.append([{"key": "p7", "value": float("nan")}])
    assert len(Rows(path, "key", writable=True).done) == 4
