import pytest

from thinktwice.tasks import options


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Where is it? Options: A.bank B.new york C.a U.S. mall", ("bank", "new york", "a U.S. mall")),
        ("In the U.S. A.D. 5? A. One thing. B. In the U.S. C. Three.", ("One thing.", "In the U.S.", "Three.")),
        ("Which? (A) A (B) B) 2 (C) x", ("A", "B) 2", "x")),
        ("No options here.", ()),
        ("Only A. one", ()),
    ],
)
def test_find(question, found):
    assert options.find(question) == found


def test_what_ask_writes_find_reads():
    texts = ("a bank", "7.5 A. D.", "new york", "none of these")
    assert options.find(options.ask("Which? Options: A.x B.y", texts)) == texts
