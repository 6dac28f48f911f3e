from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.pipeline.generations import read_generations, write_generations

line = st.text(st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=12)
part = st.lists(line, min_size=1, max_size=5).map("\n".join)


@given(st.lists(st.tuples(part, part, part), max_size=4))
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, answers: list) -> None:
    path = tmp_path_factory.mktemp("generations") / "answers.txt"

    def plain(text: str) -> str:
        return "\n".join("" if not one.strip() else one for one in text.rstrip().split("\n"))

    write_generations(path, answers)
    assert read_generations(path) == [tuple(plain(p) for p in answer) for answer in answers]


def test_the_layout_is_question_solution_reference(tmp_path: Path) -> None:
    path = tmp_path / "answers.txt"
    write_generations(path, [("Q1", "a\n\nb", "gold"), ("Q2", "", "gold")])
    assert path.read_text() == "Q1\n\na\n \nb\n\ngold\n\n\nQ2\n\n \n\ngold\n"
    path.write_text("only\n\ntwo\n")
    with pytest.raises(DataError, match="answer 1 has 2 parts"):
        read_generations(path)
