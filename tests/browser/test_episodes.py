"""Episodes in the trace viewer, read as a person would: turns, evidence, loops, what the guard did."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinktwice.records import Note, TraceRecord
from thinktwice.types import Rewind, Score, Step, Trace

spec = importlib.util.spec_from_file_location("viewer_page", Path(__file__).with_name("test_viewer.py"))
assert spec is not None
assert spec.loader is not None
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)
ATTACK = pages.ATTACK
SUPPORT = ("Ida Marshby", "Hugo Oakham")


def say(kind: str, text: str, **more: Any) -> Step:
    return Step(kind, text, tuple(pages.BYTES + b for b in text.encode()), **more)  # type: ignore[arg-type]


def found(text: str, *sources: str) -> Step:
    return say("observation", f"<observation>{text}</observation>", sampled=False, sources=sources)


LOOPING = (
    say("text", "I look for Ida."),
    say("action", "<search>Ida Marshby</search>"),
    found("Ida Marshby was taught by Hugo Oakham, not by Hugo Oakhamer.", "Ida Marshby", "Marshby"),
    say("action", "<search>Ida Marshby</search>"),
    found("Ida Marshby was taught by Hugo Oakham, not by Hugo Oakhamer.", "Ida Marshby", "Marshby"),
    say("text", "Hm."),
    found("Error: no action could be read."),
    say("answer", "<answer>", sampled=False),
    say("answer", "by Hugo</answer>"),
)
NOTES = (
    Note(1, "search", "Ida Marshby"),
    Note(3, "search", "Ida Marshby", "exact adjacent"),
    Note(5, "no action", "", "not carried out"),
    Note(6, "observation", "", "error"),
    Note(8, "answer", "by Hugo", "asked for"),
)
GUARDED = (
    say("action", "<search>"),
    say("error", "Ida", kept=False),
    say("undo", "</search>", kept=False, rewind=Rewind(4, (pages.BYTES + ord("I"),))),
    say("action", "Hugo Oakham</search>"),
    found("Hugo Oakham was born in 1843.", "Hugo Oakham"),
    say("answer", "<answer>Hugo Oakham</answer>"),
)
GUARD_NOTES = (
    Note(2, "search", "Ida", "taken back by the guard"),
    Note(3, "search", "Hugo Oakham"),
    Note(5, "answer", "Hugo Oakham"),
)
HOSTILE = (
    say("action", f"<search>{ATTACK}</search>"),
    found(ATTACK * 30 + " Hugo Oakham", ATTACK, "x" * 3000),
    say("answer", f"<answer>{ATTACK}</answer>"),
)
HOSTILE_NOTES = (Note(0, ATTACK, ATTACK, ATTACK), Note(2, "answer", ATTACK))


def record(
    arm: str, key: str, steps: tuple[Step, ...], notes: tuple[Note, ...], value: float, failure: str = ""
) -> Any:
    score = Score(value, "by Hugo" if value < 1 else "Hugo Oakham", f"F1 {value:.2f}")
    question = f"Who taught Ida? ({key})"
    return TraceRecord(key, arm, 8, question, "Hugo Oakham", Trace(key, steps), score, failure, SUPPORT, notes)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    looping, guarded = (LOOPING, NOTES), (GUARDED, GUARD_NOTES)
    records = {
        "backtrack": [
            record("backtrack", "8/loop", *looping, 2 / 3, "loop"),
            record("backtrack", "8/guard", *guarded, 1),
            record("backtrack", f"8/{ATTACK}", HOSTILE, HOSTILE_NOTES, 0, "retrieval miss"),
            record("backtrack", "8/old", LOOPING, (), 0, "wrong answer"),  # before anything was noted
        ],
        "control": [record("control", "8/loop", *guarded, 1), record("control", "8/guard", *looping, 0, "loop")],
    }
    return str(pages.make_page(tmp_path_factory.mktemp("episodes"), records))


@pytest.fixture
def show(open_page: Callable, url: str) -> Callable:
    def go(place: str = "#trace=8/loop&arms=backtrack", **options: Any) -> Any:
        page = open_page(url + place, **options)
        page.wait_for_selector("#traces[data-ready]")
        page.wait_for_selector(".tw-detail:not([hidden])")
        page.wait_for_timeout(60)  # marks are set in the next frame
        return page

    return go


def marked(page: Any, name: str) -> list[str]:
    return page.evaluate("name => [...CSS.highlights.get(`tw-${name}`)].map(String)", name)


def test_every_turn_has_its_thought_action_and_observation_with_its_titles(show: Callable) -> None:
    page = show()
    turns = page.locator(".tw-turn")
    assert turns.count() == 4
    assert turns.nth(0).locator(".tw-flow").inner_text() == "I look for Ida."
    assert turns.nth(0).locator(".tw-label").all_inner_texts() == ["search", "observation\n◆ Ida Marshby\nMarshby"]
    assert turns.nth(1).locator(".tw-label").first.inner_text() == "search\nexact adjacent"
    assert turns.nth(2).locator(".tw-label").inner_text() == "observation\nerror"
    assert turns.nth(3).locator(".tw-label").inner_text() == "answer\nasked for"
    assert turns.nth(3).locator(".tw-step").inner_text().endswith("<answer>by Hugo</answer>")  # one block
    assert page.locator(".tw-verdict").inner_text() == "≈ partly right: loop (0.67)"
    assert page.locator("[data-part=support]").inner_text() == "It takes: ◆ Ida Marshby◆ Hugo Oakham"


def test_the_evidence_is_marked_where_it_was_observed_and_nowhere_else(show: Callable) -> None:
    page = show()
    assert marked(page, "needed") == ["Ida Marshby", "Ida Marshby", "Hugo Oakham", "Hugo Oakham"]
    assert marked(page, "reference") == ["Hugo Oakham", "Hugo Oakham"]  # not a part of Oakhamer
    assert marked(page, "given") == ["by Hugo", "by Hugo", "by Hugo", "by Hugo"]
    page.locator('[data-do="previous"]').click()  # the beginning: nothing was observed yet
    page.wait_for_timeout(60)
    assert marked(page, "needed") == []


def test_the_turns_are_seen_at_a_glance_and_lead_to_their_place(show: Callable) -> None:
    page = show()
    chips = page.get_by_label("turns", exact=True).get_by_role("button")
    assert [" ".join(text.split()) for text in chips.all_inner_texts()] == [
        "1 search ◆", "2 search exact adjacent ◆", "3 no action not carried out", "4 answer asked for"
    ]  # fmt: skip
    page.locator('[data-do="previous"]').click()
    assert page.locator(".tw-turn").count() == 0
    chips.nth(1).click()
    assert page.locator(".tw-turn").count() == 2
    assert page.locator(".tw-lit").get_attribute("aria-label") == "turn 2"


def test_what_the_guard_took_back_stands_struck_in_its_action(show: Callable) -> None:
    page = show("#trace=8/guard&arms=backtrack")
    blocks = page.locator(".tw-turn").first.locator(".tw-step")
    assert blocks.count() == 2  # one action, one observation
    assert page.locator(".tw-step").first.locator(".tw-gone").first.inner_text() == "I"
    assert page.locator(".tw-tape .tw-ban").inner_text() == "taken back by the guard; cannot be: I"
    assert "taken back by the guard" in page.get_by_label("turns", exact=True).inner_text()
    visible = page.evaluate("thinktwice.viewer.detail.lanes[0].tape.visible")
    assert visible.startswith("<search>Hugo Oakham</search><observation>")


def test_filters_by_failure_and_by_mark_are_links(show: Callable) -> None:
    page = show("#arms=backtrack&failure=loop")
    assert pages.listed(page) == ["8/loop"]
    page = show("#arms=backtrack&mark=exact adjacent,exact later")
    assert pages.listed(page) == ["8/loop"]
    assert page.locator("select[name=mark]").evaluate("s => s.selectedOptions[0].textContent") == (
        "exact adjacent or exact later"
    )
    page.locator("select[name=mark]").select_option("taken back by the guard")
    page.wait_for_function("location.hash.includes('taken')")
    assert pages.listed(page) == ["8/guard"]
    page.get_by_role("button", name="clear filters").click()
    assert len(pages.listed(page)) == 4
    page.locator("select[name=outcome]").select_option("partly")
    assert pages.listed(page) == ["8/loop"]


def test_two_arms_stand_side_by_side(show: Callable) -> None:
    page = show("#trace=8/loop&arms=backtrack,control")
    assert [card.locator(".tw-turn").count() for card in page.locator(".tw-card").all()] == [4, 2]
    assert "took back once" in page.locator(".tw-card").nth(1).inner_text()


def test_a_run_that_noted_nothing_still_has_turns(show: Callable) -> None:
    page = show("#trace=8/old&arms=backtrack")
    assert page.locator(".tw-turn").count() == 4
    chips = page.get_by_label("turns", exact=True).get_by_role("button").all_inner_texts()
    assert [" ".join(text.split()) for text in chips] == ["1 action ◆", "2 action ◆", "3 thought", "4 answer"]


def test_nothing_that_was_asked_for_or_found_is_obeyed(show: Callable, no_overflow: Callable) -> None:
    page = show(width=380)
    page.evaluate("key => { location.hash = `trace=${encodeURIComponent(key)}&arms=backtrack` }", f"8/{ATTACK}")
    page.wait_for_function("document.querySelectorAll('.tw-turn').length === 2")
    assert page.locator("img").count() == 0
    assert "<script>alert(1)</script>" in page.locator(".tw-label").first.inner_text()
    no_overflow(page)


@pytest.mark.parametrize("dark", [False, True])
def test_episodes_fit_a_phone_and_can_be_read_by_everyone(
    show: Callable, accessible: Callable, no_overflow: Callable, dark: bool
) -> None:
    page = show("#trace=8/loop&arms=backtrack,control", width=380, height=800, dark=dark)
    no_overflow(page)
    accessible(page, "#traces")


def test_on_paper_the_open_episode_stays(show: Callable, no_overflow: Callable) -> None:
    page = show()
    page.emulate_media(media="print")
    assert page.locator(".tw-turn").first.is_visible()
    assert not page.locator(".tw-filters").is_visible()
    no_overflow(page)
