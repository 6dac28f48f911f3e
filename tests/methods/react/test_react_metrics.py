"""What is counted in episodes, and which one reason each wrong answer has."""

from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.react import metrics, released
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH, Episode, Turn
from thinktwice.methods.react.taxonomy import FAILURES
from thinktwice.records import Finding, TraceRecord
from thinktwice.types import Problem, Score, Trace

DATA = Path(__file__).parents[3] / "../shared/data"
TRACES = DATA / "fireact/hotpotqa_dev_0_500_llama_models_lora_llama-2-7b-d_1000_0.7_2023-09-19-00-49-36.json"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")

PROBLEM = Problem(
    "p", "When was the teacher of Ada born?", "1843 spring", level=2, kind="bridge", support=("Ada", "Hugo")
)
ADA = Turn("", SEARCH, "Ada", "Ada was taught by Hugo.", ("Ada",), 5)
HUGO = Turn("", OPEN, "Hugo", "Hugo was born in 1843 spring.", ("Hugo", "Otto"), 7)
OTHER = Turn("", SEARCH, "Bela", "Bela died.", ("Bela",), 5)


def episode(*turns: Turn, answer: str | None = "1843 spring", forced: bool = False) -> Episode:
    last = () if answer is None else (Turn("", ANSWER, answer, tokens=3),)
    return Episode("p", (*turns, *last), answer, forced)


def table(found: tuple[Finding, ...], title: str) -> dict[str, dict[str, str]]:
    (one,) = [f for f in found if f.title == title]
    return {row[0]: dict(zip(one.columns, row, strict=True)) for row in one.rows}


@pytest.mark.parametrize(
    ("happened", "stop", "failure"),
    [
        (episode(ADA, HUGO), "done", ""),
        (episode(answer="1843 spring"), "done", ""),  # by luck, and yet right
        (episode(ADA, HUGO, answer=None), "error", "tool error"),
        (episode(ADA, replace(ADA, tool="lookup", error="no such tool"), answer="x"), "done", "tool error"),
        (episode(replace(ADA, tool="", error="unreadable"), answer=None), "done", "parse error"),
        (episode(replace(ADA, tool="", error="unreadable"), ADA, answer="x"), "done", "hop incomplete"),  # mended
        (episode(ADA, ADA, answer=None), "length", "context overflow"),
        (episode(ADA, ADA, answer="x", forced=True), "done", "loop"),
        (episode(ADA, OTHER, replace(ADA, argument="the ada?"), answer="x"), "done", "loop"),
        (episode(ADA, OTHER, replace(OTHER, argument="Rosa"), answer="x"), "done", "hop incomplete"),  # nothing new
        (episode(ADA, answer=None), "budget", "step limit"),
        (episode(ADA, answer="x", forced=True), "done", "step limit"),
        (episode(answer="x"), "done", "no-search guess"),
        (episode(OTHER, answer="x"), "done", "retrieval miss"),
        (episode(replace(OTHER, observation="", sources=()), answer="x"), "done", "retrieval miss"),
        (episode(ADA, answer="x"), "done", "hop incomplete"),
        (episode(ADA, HUGO, answer="1851"), "done", "reading error"),
        (episode(ADA, HUGO, answer="1843"), "done", "label ambiguity"),
    ],
)
def test_every_wrong_answer_has_one_reason(happened: Episode, stop: str, failure: str) -> None:
    assert metrics.judge(PROBLEM, happened, stop=stop).failure == failure  # type: ignore[arg-type]
    assert failure in ("", *FAILURES)


def test_where_no_page_is_known_by_name_the_answer_must_have_been_shown() -> None:
    unknown = replace(PROBLEM, support=())
    seen = [replace(turn, sources=()) for turn in (ADA, HUGO)]
    assert metrics.judge(unknown, episode(*seen, answer="x")).failure == "reading error"
    assert metrics.judge(unknown, episode(seen[0], answer="x")).failure == "retrieval miss"
    asked = replace(unknown, answer="yes")
    assert metrics.judge(asked, episode(seen[0], answer="no")).failure == "reading error"
    assert metrics.judge(replace(asked, support=("Ada",)), episode(seen[0], answer="no")).failure == "retrieval miss"


@pytest.fixture
def found() -> tuple[Finding, ...]:
    problems = [replace(PROBLEM, id=f"p{i}", level=1 + i % 2) for i in range(5)]
    problems[4] = replace(problems[4], answer="yes", kind="comparison")
    episodes = [
        episode(ADA, HUGO),  # right and seen
        episode(),  # right by luck, nothing looked up
        episode(ADA, ADA, ADA, answer="1843", forced=True),  # loop, half right
        episode(ADA, answer=None),
        episode(ADA, answer="yes"),  # right, but one page was not read
    ]
    records = [
        TraceRecord(f"{p.level}/{p.id}", "a", p.level, p.prompt, p.answer, Trace(p.id), Score(0.0)) for p in problems
    ]
    return metrics.findings(problems, records, episodes)


def test_answers_are_told_by_level_and_kind(found: tuple[Finding, ...]) -> None:
    rows = table(found, "Answers")
    assert list(rows) == ["all", "level 1", "level 2", "bridge", "comparison", "without yes or no"]
    everything = rows["all"]
    assert everything["EM"].startswith("60.0\u00a0% (")
    assert everything["F1"].startswith("73.3 (")  # 1, 1, 2/3, 0, 1
    assert (everything["precision"], everything["recall"]) == ("80.0", "70.0")
    assert (everything["right and seen"], everything["right by luck"]) == ("20.0\u00a0%", "40.0\u00a0%")
    assert everything["without a search"] == "20.0\u00a0%"
    assert rows["without yes or no"]["EM"].startswith("50.0\u00a0%")
    assert rows["level 1"]["n"] == "3"


def test_pages_are_counted_by_hop(found: tuple[Finding, ...]) -> None:
    rows = table(found, "Pages that were found")
    assert (rows["all"]["hop 1"], rows["all"]["hop 2"]) == ("80.0\u00a0%", "20.0\u00a0%")
    assert rows["all"]["all"].startswith("20.0\u00a0% (")


def test_costs_are_means_a_question(found: tuple[Finding, ...]) -> None:
    rows = table(found, "Searches and tokens a question")
    assert rows["all"]["searches"] == "1.20"
    assert rows["all"]["pages opened"] == "0.20"
    assert rows["all"]["tokens drawn"] == "9.8"
    assert rows["all"]["answer forced"] == "20.0\u00a0%"


def test_loops_are_counted_by_search_and_by_question(found: tuple[Finding, ...]) -> None:
    rows = table(found, "Loops")
    assert (rows["any repeat"]["searches"], rows["any repeat"]["of all"]) == ("2", "33.3\u00a0%")
    assert rows["exact adjacent"]["searches"] == rows["letter for letter"]["searches"] == "2"
    assert (rows["any repeat"]["questions"], rows["any repeat"]["EM with"]) == ("1", "0.0\u00a0%")
    assert rows["any repeat"]["EM without"] == "75.0\u00a0%"
    assert rows["nothing new"]["EM with"] == "–"


def test_failures_name_the_episodes_to_look_at(found: tuple[Finding, ...]) -> None:
    rows = table(found, "What went wrong")
    assert list(rows) == list(FAILURES)
    assert rows["loop"]["episodes"] == "1/p2"
    assert rows["step limit"]["episodes"] == "2/p3"
    assert sum(int(row["answers"]) for row in rows.values()) == 2


def test_no_table_of_pages_where_nobody_knows_them() -> None:
    bare = metrics.judge(replace(PROBLEM, support=()), episode(ADA, HUGO))
    assert "Pages that were found" not in [f.title for f in metrics.tables([bare])]
    assert metrics.tables([]) == ()


def test_several_runs_over_the_same_questions() -> None:
    problems = [replace(PROBLEM, id=f"p{i}") for i in range(40)]
    runs = [
        [
            metrics.judge(p, episode(ADA, HUGO, answer="1843 spring" if (i + r) % 4 else "x"))
            for i, p in enumerate(problems)
        ]
        for r in range(2)
    ]
    rows = {row[0]: row for row in metrics.repeated([runs[0], runs[1][::-1]]).rows}
    assert rows["EM"][1].startswith("75.0 (")
    assert rows["EM"][2] == "0.0"
    # Each question is right once of two times or always: 0.5 for half, 1 for the other half.
    low, high = (float(end) for end in rows["EM"][1][:-1].partition("(")[2].split(" to "))
    assert 12 < high - low < 18
    with pytest.raises(DataError, match="the same questions"):
        metrics.repeated([runs[0], runs[1][1:]])


@needs_data
def test_the_published_loop_statistics_come_out() -> None:
    """../shared/research/react.md: 15.6 % of episodes and 16.3 % of searches repeat; EM 6.4 % with, 29.9 % without."""
    outcomes = [metrics.judge(r.problem, r.episode) for r in released.fireact_traces(TRACES)]
    found = metrics.tables(outcomes)
    loops = table(found, "Loops")
    verbatim = loops["letter for letter"]
    assert (verbatim["searches"], verbatim["of all"], verbatim["questions"]) == ("204", "16.3\u00a0%", "78")
    assert verbatim["of all questions"].startswith("15.6\u00a0%")
    assert (verbatim["EM with"], verbatim["EM without"]) == ("6.4\u00a0%", "29.9\u00a0%")
    assert int(loops["any repeat"]["questions"]) >= 78  # the words again, in any order and form, and nearly so
    answers = table(found, "Answers")["all"]
    assert answers["EM"].startswith("26.2\u00a0%")
    assert answers["F1"].startswith("38.0")
    wrong = metrics.failed(outcomes)
    assert sum(map(len, wrong.values())) == 369
    assert len({key for keys in wrong.values() for key in keys}) == 369


@needs_data
def test_arafts_lucky_trajectory_is_seen_as_luck() -> None:
    rows = released.araft_trajectories(DATA / "araft/test_trajectories.json")
    lucky = metrics.judge(rows[0].problem, rows[0].episode)
    assert lucky.match.em == 1
    assert not lucky.grounded
