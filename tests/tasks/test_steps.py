from collections import Counter

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import steps
from thinktwice.tasks.steps import labelled, sentences


def test_a_step_of_both_kinds_does_not_shift_the_labels_after_it():
    """The public code drops the label it does not know and keeps the step."""
    counts = Counter()
    raw = ["[rag]: A fact.", "[reason] and [rag]: Both.", "[reason]: Thus.", "[rag]: More."]
    lines, labels = labelled(raw, counts)
    assert lines == ("A fact.", "Both.", "Thus.", "More.")
    assert labels == ("memory", "memory", "reason", "memory")
    assert counts == {"steps of both kinds taken for memory": 1}
    assert labelled(["[reason] [rag]: Both."], counts)[1] == ("memory",)
    assert labelled(["[reason] and [reasoning]: One."], counts)[1] == ("reason",)


def test_an_empty_step_goes_with_its_label():
    counts = Counter()
    assert labelled(["[rag]: ", "[rag]:", "[reason]: Thus.", "", "[rak]: "], counts) == (("Thus.",), ("reason",))
    assert counts == {"steps without text left out": 4}
    assert labelled([], counts) == labelled(None, counts) == ((), ())


def test_a_step_with_line_breaks_is_one_step():
    lines, labels = labelled(["[rag]: One,\ntwo\u2028three.\r\n\x0bFour.", "[reason]: So [sic]: five."], Counter())
    assert lines == ("One, two three. Four.", "So [sic]: five.")
    assert labels == ("memory", "reason")
    solution = steps.solution(lines, "True")
    assert len(solution.splitlines()) == len(labels) + 1
    assert solution.endswith("\nThe answer is: True")


@pytest.mark.parametrize("name", ["rag", "RAG", "Fact", "factual knowledge", "memory"])
def test_names_of_memory(name):
    assert labelled([f"[{name}]: x"], Counter())[1] == ("memory",)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (["[rag]: x", "[chag]: y"], r"step 2 is labelled \[chag\]"),
        (["[rag]: x", "y"], "step 2 has no label"),
        ("[rag]: x", "no list of texts"),
        ([1], "no list of texts"),
    ],
)
def test_an_unknown_label_is_named_not_guessed(raw, message):
    with pytest.raises(DataError, match=message):
        labelled(raw, Counter())


def test_without_tags_there_are_no_labels():
    assert labelled(["x [a]", "y"], Counter()) == (("x [a]", "y"), ())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("The U.S. Navy had 3.5 ships. It sank one.", ("The U.S. Navy had 3.5 ships.", "It sank one.")),
        ("Mr. Smith paid Rs. 50. He left.", ("Mr. Smith paid Rs. 50.", "He left.")),
        ("So (it is. Really.) done. Next!  Last", ("So (it is. Really.) done.", "Next!", "Last")),
        ("x = 2\n\n y = 3.\nz", ("x = 2", "y = 3.", "z")),
        ("It costs $5. Pay $6.", ("It costs $5.", "Pay $6.")),
        ("e.g. this one. and that", ("e.g. this one. and that",)),
        ("  \n ", ()),
    ],
)
def test_sentences(text, parts):
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Let $x. Y$ be\nit. So $y = 3.5$. Hence 2.", ("Let $x. Y$ be it.", "So $y = 3.5$.", "Hence 2.")),
        ("We get\n\\[x = 2. \\]\nThen \\$5 remain. End.", ("We get \\[x = 2. \\]", "Then \\$5 remain.", "End.")),
        (
            "\\begin{align*}\na &= 1. \\\\\n\nB &= 2\n\\end{align*}so it is.",
            ("\\begin{align*} a &= 1. \\\\ B &= 2 \\end{align*}so it is.",),
        ),
        ("One\n\nTwo", ("One", "Two")),
        ("[asy]\ndraw(A. B);\n\nD\n[/asy]", ("[asy] draw(A. B); D [/asy]",)),
    ],
)
def test_latex_is_never_torn_apart(text, parts):
    assert sentences(text, latex=True) == parts
