"""The trace viewer and its tape, used as a person would."""

import base64
import hashlib
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import TraceRecord
from thinktwice.render import Render
from thinktwice.report import viewer
from thinktwice.run import Run
from thinktwice.types import Completion, Rewind, Score, Step, Trace

RECIPE = Recipe(
    name="sample",
    task=Spec("arith", {"operations": [1, 6]}),
    method=Spec("backtrack", {}),
    arms={"base": Arm(trained=False), "control": Arm(method={"name": "baseline"}), "backtrack": Arm()},
    evaluation=Evaluation(levels=(4, 8), in_distribution=4),
    headline=Headline("backtrack", "control", 8),
)
WORDS = ["<undo>", "<end>", "Ann ", "has ", "3", "4", "7", ".\n", " = ", "#### "]
BYTES = 100
UNDO, END = 0, 1
COLOURS = {"backtrack": 0, "control": 1, "base": 2}
ATTACK = "<script>alert(1)</script></script><img src=x onerror=alert(1)>\u202eevil\u2066\u200b\x1b[2J\U000e0041"


def decode(ids: Any) -> str:
    spelled = [bytes([i - BYTES]) if i >= BYTES else WORDS[i].encode() for i in ids]
    return b"".join(spelled).decode("utf-8", "replace")


class Tokenizer:
    eos_token_id = END

    def decode(self, token_ids: Any, *, skip_special_tokens: bool) -> str:
        return decode(token_ids)


def text(said: str, **more: Any) -> Step:
    ids = [WORDS.index(word) for word in re.findall("|".join(map(re.escape, WORDS)), said)]
    assert decode(ids) == said
    more = {"logprobs": tuple(-0.1 * (i + 1) for i in range(len(ids))), **more}
    return Step(more.pop("kind", "text"), said.replace("<end>", ""), tuple(ids), **more)


RETRACTS = (
    text("Ann has 3.\n"),
    text("4", kind="error", kept=False),
    text("<undo>", kind="undo", kept=False),
    text("7", kept=False, rewind=Rewind(2, (WORDS.index("4"),))),
    text("#### 3<end>"),
)
PLAIN = (text("Ann has 4.\n#### 4<end>"),)


def rows() -> dict[str, list[tuple[str, int, tuple[Step, ...], dict[str, Any]]]]:
    """Arm -> (key, level, steps, what else the record says)."""
    wrong: dict[str, Any] = {"right": False, "failure": "wrong_arithmetic"}
    kinds = (
        Step("plan", "first look, then add", (2, 3)),
        Step("action", "search[Ann]", (2,)),
        Step("observation", "Ann has 3.\n", (2, 3, 4, 7), sampled=False),
        Step("critique", "is it 3?", (4,)),
        Step("dream" * 3, "a kind nobody knows", (5,)),  # type: ignore[arg-type]
        Step("answer", "3", (4,)),
    )
    hostile = (
        Step("text", ATTACK, (2, 3), logprobs=(-1.0, -2.0)),
        Step(ATTACK, "x" * 100_000, (4,)),  # type: ignore[arg-type]
        Step("text", "y" * 9_000, tuple(BYTES + ord("y") for _ in range(9_000))),
    )
    samples = (text("#### 4<end>", kept=False), text("#### 3<end>"), text("#### 7<end>", kept=False))
    return {
        "backtrack": [
            ("8/plain", 8, PLAIN, {}), ("8/gained", 8, RETRACTS, {}), ("8/lost", 8, PLAIN, wrong),
            ("8/same", 8, RETRACTS, wrong | {"failure": "no_answer"}), ("8/broken", 8, (), {"error": "it fell over"}),
            ("4/kinds", 4, kinds, {}), (f"4/{ATTACK}", 4, hostile, {}), ("4/samples", 4, samples, {}),
        ],
        "control": [
            ("8/plain", 8, PLAIN, {}), ("8/gained", 8, PLAIN, wrong), ("8/lost", 8, PLAIN, {}),
            ("8/same", 8, PLAIN, wrong), ("4/kinds", 4, PLAIN, {}), ("4/samples", 4, (text("Ann has 7"),), {}),
        ],
        "base": [("8/plain", 8, PLAIN, wrong)],
    }  # fmt: skip


def record(arm: str, key: str, level: int, steps: tuple[Step, ...], **more: Any) -> TraceRecord:
    error, right = more.get("error"), more.get("right", True) and not more.get("error")
    trace = Trace(key, steps, "error" if error else more.get("stop", "done"), error)
    score = Score(float(right), "3", "stated 3", error is None)
    return TraceRecord(key, arm, level, f"How many pens? ({key})", "3", trace, score, more.get("failure", ""))


def make_page(folder: Path, records: dict[str, list[TraceRecord]]) -> str:
    """Write a page that has nothing but the viewer, under the policy of the real one; return its address."""
    with Run.open(folder / "run", to_dict(RECIPE)) as run:
        for arm, found in records.items():
            run.traces(arm).append([to_dict(row) for row in found])
    style = (Path(viewer.__file__).parent / "style.css").read_text() + viewer.STYLE + "main { max-width: none; }"
    digest = base64.b64encode(hashlib.sha256(viewer.SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    path = folder / "page.html"
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>traces</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style></head><body><main>'
        f"<h1>A run</h1>{viewer.embed(Run.load(folder / 'run'), RECIPE, decode, COLOURS)}</main>"
        f"<script>{viewer.SCRIPT}</script></body></html>"
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    records = {arm: [record(arm, k, lv, s, **more) for k, lv, s, more in found] for arm, found in rows().items()}
    return make_page(tmp_path_factory.mktemp("viewer"), records)


@pytest.fixture
def show(open_page: Callable, url: str) -> Callable:
    def go(place: str = "", page_url: str = url, **options: Any) -> Any:
        page = open_page(page_url + place, **options)
        page.wait_for_selector("#traces[data-ready]")
        page.wait_for_selector(".tw-detail:not([hidden])")
        return page

    return go


def listed(page: Any) -> list[str]:
    numbers = page.evaluate("[...document.querySelectorAll('.tw-row')].map(row => Number(row.dataset.number))")
    return [page.evaluate("n => thinktwice.viewer.store.keys[n]", n) for n in numbers]


def opened(page: Any) -> str:
    """The key of the open problem, once it is drawn."""
    page.evaluate("thinktwice.viewer.ready")
    return page.locator("[data-part=key]").inner_text().split(" · ")[1]


def tape(page: Any, arm: int = 0) -> str:
    return page.locator(".tw-tape").nth(arm).text_content()


def position(page: Any) -> tuple[int, int]:
    return tuple(page.evaluate("[thinktwice.viewer.detail.replay.position, thinktwice.viewer.detail.replay.length]"))


def until(page: Any, truth: str) -> None:
    """Wait until a JavaScript expression is true. (The page's policy refuses Playwright's own way, which evaluates.)"""
    for _ in range(500):
        if page.evaluate(f"() => Boolean({truth})"):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never true: {truth}")


def choose(page: Any, **choices: str) -> list[str]:
    """Choose in the filters; return what is listed then."""
    for name, choice in choices.items():
        page.locator(f".tw-filters select[name={name}]").select_option(choice)
    return listed(page)


# -- finding a trace ---------------------------------------------------------------------------------------------------


def test_it_opens_on_the_headline_with_a_retraction_and_its_control_beside_it(show: Callable) -> None:
    page = show()
    assert listed(page) == ["8/plain", "8/gained", "8/lost", "8/same", "8/broken"]
    assert page.get_by_role("status").inner_text() == "5 of 8 problems"
    assert opened(page) == "8/gained"
    assert page.locator(".tw-card h3").all_inner_texts() == ["backtrack A", "control B"]
    assert page.locator(".tw-verdict").all_inner_texts() == ["✓ right", "✗ wrong: wrong arithmetic"]
    assert page.locator("[data-part=question]").inner_text() == "How many pens? (8/gained)"
    assert page.locator("[data-part=reference]").inner_text() == "3"
    assert page.locator(".tw-why").first.inner_text() == "stated 3"


def test_every_filter_leaves_what_it_says_and_the_address_is_the_view(show: Callable) -> None:
    page = show()

    assert choose(page, level="") == [k for k, *_ in rows()["backtrack"]]
    assert choose(page, outcome="gained") == ["8/gained"]
    assert choose(page, outcome="lost") == ["8/lost"]
    assert choose(page, outcome="same") == ["8/plain", "8/same", "4/kinds", "4/samples"]
    assert choose(page, outcome="unscored") == ["8/broken"]
    assert choose(page, outcome="wrong") == ["8/lost", "8/same"]
    assert choose(page, failure="no_answer") == ["8/same"]
    assert "outcome=wrong" in page.url
    assert "failure=no_answer" in page.url
    page.get_by_role("button", name="clear filters").click()
    page.get_by_label("A took something back").check()
    assert listed(page) == ["8/gained", "8/same"]
    page.get_by_label("A took something back").uncheck()
    assert choose(page, sort="back")[:2] == ["8/gained", "8/same"]
    assert choose(page, sort="level")[-3:] == ["4/kinds", f"4/{ATTACK}", "4/samples"]
    assert choose(page, a="base") == ["8/plain"]
    assert page.locator(".tw-card h3").all_inner_texts() == ["base A", "control B"]
    address = page.url
    page.goto("about:blank")
    again = show(page_url=address)
    assert listed(again) == ["8/plain"]
    assert again.get_by_label("Arm A").input_value() == "base"


def test_text_is_searched_in_questions_and_replies_retracted_ones_too(show: Callable) -> None:
    page = show()
    page.get_by_role("button", name="clear filters").click()
    box = page.get_by_label("Text")
    box.fill("LOOK, then")
    until(page, "document.querySelectorAll('.tw-row').length === 1")
    assert listed(page) == ["4/kinds"]
    assert page.get_by_role("status").inner_text() == "1 of 8 problems"
    until(page, "[...CSS.highlights.get('tw-found')].length === 1")
    assert page.evaluate("String([...CSS.highlights.get('tw-found')][0])") == "look, then"
    box.fill("(8/lost)")
    until(page, "document.querySelector('.tw-row')?.dataset.number === '2'")
    assert listed(page) == ["8/lost"]
    box.fill("has 3.\n4".replace("\n", ""))
    until(page, "document.querySelectorAll('.tw-row').length === 0")
    box.fill("ann has 7")  # only the control says so
    until(page, "document.querySelectorAll('.tw-row').length === 1")
    assert choose(page, b="") == []


def test_a_search_tells_how_far_it_is_and_can_be_stopped(show: Callable, tmp_path: Path) -> None:
    many = [record("backtrack", f"p{i}", 8, PLAIN) for i in range(640)]
    page = show(page_url=make_page(tmp_path, {"backtrack": many}))
    page.evaluate(  # each block waits until it is let go
        """() => {
          const { store } = thinktwice.viewer;
          const search = store.search;
          store.search = (text, found, signal) => search.call(store, text, (matches, done, blocks) => {
            found(matches, done, blocks);
            if (done === 2) document.querySelector("[data-view=stop]").click();
          }, signal);
        }"""
    )
    said = page.get_by_role("status")
    page.evaluate(
        "window.heard = []; new MutationObserver(() => heard.push(document.querySelector('[role=status]').textContent))"
        ".observe(document.querySelector('[role=status]'), {childList: true, characterData: true, subtree: true})"
    )
    page.get_by_label("Text").fill("Ann")
    until(page, "heard.includes('128 of 640 problems')")
    assert "64 of 640 problems so far; 10 % searched" in page.evaluate("heard")
    assert said.inner_text() == "128 of 640 problems"
    assert page.get_by_role("button", name="stop searching").is_hidden()


def test_five_thousand_traces_keep_the_page_small(show: Callable, tmp_path: Path) -> None:
    records = {
        arm: [record(arm, f"p{i}", 8, PLAIN if i % 3 else RETRACTS, right=i % 2 == 0) for i in range(2500)]
        for arm in ("backtrack", "control")
    }
    page = show(page_url=make_page(tmp_path, records))
    nodes = "document.querySelectorAll('#traces *').length"
    assert page.get_by_role("status").inner_text() == "2,500 of 2,500 problems"
    assert page.evaluate(nodes) < 700
    page.locator(".tw-list").focus()
    page.keyboard.press("End")
    until(page, "document.querySelector('[aria-selected=true]')?.dataset.number === '2499'")
    assert opened(page) == "p2499"
    assert page.evaluate(nodes) < 700
    assert page.evaluate("thinktwice.viewer.store._recent.size") <= 6


# -- reading it --------------------------------------------------------------------------------------------------------


def test_a_token_says_how_probable_it_was_on_hover_and_on_focus(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack")
    tip = page.get_by_role("tooltip")
    page.locator(".tw-tape .tw-token", has_text="has").hover()
    assert tip.inner_text().split("\n") == ["has␣", "0.82 · −0.20 nats · kept"]
    page.locator(".tw-tape .tw-gone", has_text="4").hover()
    assert "0.90 · −0.10 nats · taken back" in tip.inner_text()
    page.locator(".tw-tape .tw-rejected").hover()
    assert "drawn, but never part of the reply" in tip.inner_text()
    page.locator(".tw-token").first.focus()
    assert "Ann" in tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert "has" in tip.inner_text()
    described = page.evaluate("document.activeElement.getAttribute('aria-describedby')")
    assert page.locator(f"#{described}").inner_text() == tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_what_was_taken_back_is_struck_where_it_stood_and_the_ban_is_named(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack")
    assert tape(page) == "Ann has 3.\n4↶7cannot be: 4#### 3end"
    struck = page.locator(".tw-tape .tw-gone").all_inner_texts()
    assert struck == ["4", "↶"]
    line = page.locator(".tw-tape .tw-gone").first.evaluate("node => getComputedStyle(node).textDecorationLine")
    assert line == "line-through"
    assert "taken back" in page.get_by_label("legend").inner_text()
    page.get_by_role("button", name="fold what was taken back").click()
    until(page, "getComputedStyle(document.querySelector('.tw-tape .tw-gone')).display === 'none'")
    assert "fold=1" in page.url


def test_probabilities_are_a_colour_and_more_than_a_colour(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack")
    look = "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).boxShadow]"
    token = page.locator(".tw-tape .tw-token", has_text=".")
    assert token.evaluate(look)[1] == "none"
    page.get_by_role("button", name="probabilities").click()
    assert token.evaluate(look)[1] != "none"
    assert page.get_by_role("button", name="probabilities").get_attribute("aria-pressed") == "true"
    assert "probability of a token" in page.get_by_label("legend").inner_text()


def test_any_kind_of_step_is_shown_known_or_not(show: Callable) -> None:
    page = show("#trace=4/kinds&arms=backtrack")
    labels = page.locator(".tw-label").all_inner_texts()
    assert labels == ["plan", "action", "observation", "critique", "dream" * 3, "answer"]
    rails = page.locator(".tw-step").evaluate_all("nodes => nodes.map(n => getComputedStyle(n).borderInlineStartColor)")
    assert len(set(rails)) == 6
    assert page.locator(".tw-tape .tw-inserted").all_inner_texts() == ["Ann ", "has ", "3", ".\n"]
    legend = [line.strip() for line in page.get_by_label("legend").inner_text().split("\n")]
    assert legend[:7] == ["text inserted, not sampled", *labels]


def test_a_trace_that_broke_off_says_why(show: Callable) -> None:
    page = show("#trace=8/broken")
    assert page.locator(".tw-verdict").all_inner_texts() == ["? unscored"]
    assert tape(page) == "error: it fell over"
    assert "This arm has no trace of this problem." in page.locator(".tw-card").nth(1).inner_text()


def test_samples_that_were_outvoted_stand_apart(show: Callable) -> None:
    page = show("#trace=4/samples&arms=backtrack")
    blocks = page.locator(".tw-step").all_inner_texts()
    assert [re.sub(r"\s+", " ", block).strip() for block in blocks] == [
        "outvoted sample #### 4",
        "outvoted sample #### 7",
    ]
    assert page.evaluate("thinktwice.viewer.detail.replay.lanes[0].tape.visible") == "#### 3"


def test_hostile_text_is_only_text(show: Callable, no_overflow: Callable) -> None:
    page = show()
    page.get_by_role("button", name="clear filters").click()
    page.locator(".tw-row", has_text="script").click()
    until(page, "document.querySelectorAll('.tw-label').length === 1")
    shown = tape(page)
    assert "<script>alert(1)</script></script><img src=x onerror=alert(1)>" in shown
    assert "\\u202eevil\\u2066\\u200b\\x1b[2J\\U000e0041" in shown
    assert page.evaluate("document.querySelectorAll('#traces img, #traces .tw-detail script').length") == 0
    everything = page.evaluate("document.querySelector('#traces').innerText")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x1b]", everything)
    no_overflow(page)
    assert "evil" in page.url  # it has a link of its own, and the link leads back to it
    address = page.url
    page.goto("about:blank")
    again = show(page_url=address)
    assert "\\u202eevil" in again.locator("[data-part=key]").inner_text()


def test_very_long_text_waits_behind_a_button(show: Callable, no_overflow: Callable) -> None:
    page = show("#trace=" + re.sub("[^a-z0-9]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), f"4/{ATTACK}"))
    assert len(tape(page)) < 7000
    page.get_by_role("button", name="show all 100,000 characters").click()
    assert "x" * 100_000 in tape(page)
    page.get_by_role("button", name="more tokens").click()
    until(page, "document.querySelector('.tw-tape').textContent.split('y').length === 9001")
    no_overflow(page)


# -- replay ------------------------------------------------------------------------------------------------------------


def test_the_replay_types_strikes_bans_and_ends_as_it_began(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack,control")
    whole = tape(page)
    page.get_by_label("Speed").select_option("0.5")
    page.get_by_role("button", name="play", exact=True).click()
    until(page, "thinktwice.viewer.detail.replay.position >= 3")
    page.get_by_role("button", name="pause").click()
    at, length = position(page)
    assert 3 <= at < length
    page.wait_for_timeout(300)
    assert position(page) == (at, length)  # it stands still
    page.get_by_label("Speed").select_option("8")
    page.get_by_role("button", name="play", exact=True).click()
    page.get_by_role("button", name="play", exact=True).wait_for()
    until(page, "thinktwice.viewer.detail.replay.atEnd && !thinktwice.viewer.detail.replay.playing")
    assert tape(page) == whole
    assert page.locator(".tw-writing").count() == 0


def test_the_replay_goes_event_by_event_and_back_exactly(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack,control&step=2")
    seen = {position(page)[0]: (tape(page), tape(page, 1))}
    assert seen == {5: ("Ann has 3.\n4", "Ann has 4.\n#### ")}
    forward = page.get_by_role("button", name="one event forward")
    expected = ["4↶", "4↶7", "4↶7", "4↶7cannot be: 4", "4↶7cannot be: 4#### "]
    for end in expected:
        forward.click()
        assert tape(page).endswith(end)
        seen[position(page)[0]] = (tape(page), tape(page, 1))
    gone = page.locator(".tw-tape").first.locator(".tw-gone")
    assert gone.all_inner_texts() == ["4", "↶"]
    back = page.get_by_role("button", name="one event back")
    for at in sorted(seen, reverse=True)[1:]:
        back.click()
        assert position(page)[0] == at
        assert (tape(page), tape(page, 1)) == seen[at]
    assert gone.count() == 0


def test_the_timeline_marks_retractions_and_goes_anywhere(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack")
    slider = page.get_by_role("slider", name="position in the trace")
    assert page.locator(".tw-strip-mark").get_attribute("d") == "M7 0h1v20h-1z"
    slider.fill("2")
    assert tape(page) == "Ann has "
    assert slider.get_attribute("aria-valuetext") == "event 2 of 13, step 1 of 5"
    page.get_by_role("button", name="next retraction").click()
    assert position(page)[0] == 8
    page.get_by_role("button", name="previous retraction").click()
    assert position(page)[0] == 0
    assert tape(page) == ""


def test_all_of_it_works_from_the_keyboard(show: Callable) -> None:
    page = show()
    page.get_by_label("A took something back").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "listbox"
    page.keyboard.press("ArrowUp")
    assert opened(page) == "8/plain"
    page.keyboard.press("j")
    assert opened(page) == "8/gained"
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    assert opened(page) == "8/gained"
    active = page.evaluate("document.activeElement.getAttribute('aria-activedescendant')")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    whole = position(page)[1]
    page.keyboard.press("ArrowLeft")
    assert position(page) == (whole - 1, whole)
    page.keyboard.press("Shift+ArrowLeft")
    assert position(page)[0] == 8
    page.keyboard.press("ArrowRight")
    assert position(page)[0] == 9
    page.keyboard.press(" ")
    until(page, "thinktwice.viewer.detail.replay.position > 9")
    page.keyboard.press(" ")
    assert page.evaluate("thinktwice.viewer.detail.replay.playing") is False


def test_copy_link_copies_the_place_in_the_replay(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack&level=8")
    page.get_by_role("slider").fill("6")
    offer = "offer => Object.defineProperty(navigator, 'clipboard', {configurable: true, value: {writeText: %s}})"
    page.evaluate(offer % "async text => { window.copied = text; }")
    page.get_by_role("button", name="copy link").click()
    page.get_by_role("button", name="copied").wait_for()
    link = page.evaluate("copied")
    assert link.endswith("#trace=8%2Fgained&arms=backtrack&step=3&level=8")
    page.get_by_role("button", name="copy link").wait_for()
    page.evaluate(offer % "() => Promise.reject(new Error('not here'))")
    page.get_by_role("button", name="copy link").click()
    page.get_by_role("button", name="it is in the address bar").wait_for()
    assert page.url == link


def test_a_link_opens_one_trace_at_one_step_now_and_later(show: Callable) -> None:
    page = show("#trace=8%2Fsame&arms=control,backtrack")
    assert opened(page) == "8/same"
    assert page.locator(".tw-card h3").all_inner_texts() == ["control A", "backtrack B"]
    page.evaluate("location.hash = 'trace=8/gained&arms=backtrack&step=4'")
    until(page, "document.querySelectorAll('.tw-card').length === 1")
    assert opened(page) == "8/gained"
    assert tape(page) == "Ann has 3.\n4↶7cannot be: 4"
    assert page.evaluate("thinktwice.viewer.link().split('#')[1]") == "trace=8%2Fgained&arms=backtrack&step=4"
    page.go_back()
    until(page, "document.querySelectorAll('.tw-card').length === 2")
    assert opened(page) == "8/same"
    page.locator(".tw-row").nth(2).click()
    until(page, "document.querySelector('[data-part=key]').textContent.includes('lost')")
    page.go_back()
    until(page, "document.querySelector('[data-part=key]').textContent.includes('same')")
    page.evaluate("location.hash = 'level=4'")
    until(page, "document.activeElement.matches('.tw-list')")
    assert len(listed(page)) == 3
    page.evaluate("location.hash = 'trace=nowhere'")
    until(page, "document.querySelector('[data-part=key]').textContent.includes('nowhere')")
    assert "No problem of this run is called nowhere." in page.locator("[data-part=key]").inner_text()
    page.evaluate("location.hash = 'cost'")  # another place of the page
    assert "nowhere" in page.locator("[data-part=key]").inner_text()


# -- what the events leave ---------------------------------------------------------------------------------------------


def simulate(rng: random.Random, unit: str, words: list[int]) -> tuple[Completion, list[str]]:
    """Write and take back at random as the decoder does; return the log, and the visible text after each change."""
    log: list[int] = []
    fates: list[str] = []
    rewinds: list[tuple[int, Rewind]] = []
    visible: list[int] = []  # places in the log
    states: list[str] = []

    def note() -> None:
        states.append(decode([log[place] for place in visible]))

    def write(token: int, fate: str = "kept") -> None:
        log.append(token)
        fates.append(fate)
        if fate != "rejected":
            visible.append(len(log) - 1)
        note()

    def rewind(n: int) -> None:
        gone = visible[len(visible) - n :]
        del visible[len(visible) - n :]
        for place in gone:
            fates[place] = "control" if log[place] == UNDO else "deleted"
        first = next((log[place] for place in gone if log[place] != UNDO), None)
        rewinds.append((len(log), Rewind(n, () if first is None else (first,))))
        if n:
            note()

    while len(log) < 40:
        if rng.random() < 0.3:
            undos = 1 if unit == "step" else rng.randint(1, 3)
            for _ in range(undos):
                write(UNDO)
            if unit == "token":
                write(rng.choice(words), "rejected")
                rewind(min(2 * undos, len(visible)))
            else:
                rewind(rng.randint(1, min(6, len(visible))))
        else:
            write(rng.choice(words), "inserted" if rng.random() < 0.1 else "kept")
    known = tuple(-rng.random() for _ in log)
    return Completion(tuple(log), tuple(fates), known, "done", rewinds=tuple(rewinds)), states  # type: ignore[arg-type]


FOLD = """async () => {
  const { store } = thinktwice.viewer;
  const all = [];
  for (let n = 0; n < store.keys.length; n += 1) {
    const trace = (await store.problem(n)).traces[0];
    const tape = new thinktwice.Tape(document.createElement("div"));
    const states = [];
    for (const event of thinktwice.eventsOf(trace)) {
      const before = tape.visible;
      thinktwice.perform(tape, event);
      if (["write", "insert", "reject", "remove"].includes(event.type)) states.push(tape.visible);
      else if (tape.visible !== before) states.push(`${event.type} changed the text`);
    }
    all.push([store.keys[n], states, trace.steps.length]);
  }
  return all;
}"""


def test_after_each_event_the_tape_shows_what_the_decoder_saw(show: Callable, tmp_path: Path) -> None:
    render = Render(Tokenizer())  # type: ignore[arg-type]
    rng = random.Random(3)
    records, expected, replies = [], {}, {}
    for number in range(120):
        completion, states = simulate(rng, "step" if number % 2 else "token", list(range(2 + (number % 3 > 0), 10)))
        trace = render.trace(f"p{number}", completion)
        records.append(record("backtrack", f"p{number}", 8, trace.steps))
        expected[f"p{number}"], replies[f"p{number}"] = states, trace.reply
    page = show(page_url=make_page(tmp_path, {"backtrack": records}))
    found = page.evaluate(FOLD)
    assert len(found) == 120
    for key, states, _ in found:
        assert states == expected[key]
        assert states[-1] == replies[key]


def test_the_last_event_leaves_the_reply_whatever_the_steps_say(show: Callable, tmp_path: Path) -> None:
    render = Render(Tokenizer())  # type: ignore[arg-type]
    rng = random.Random(5)
    smile = [BYTES + byte for byte in "é🙂".encode()]
    records, replies = [], {}
    for number in range(160):
        completion, _ = simulate(rng, "token", [*smile, 2, 7] if number % 2 else [2, 3, 7])
        steps = list(render.trace("p", completion).steps)
        way = number % 8
        if way in (2, 3):  # as in examples and in keep mode: nobody says what went when
            steps = [Step(s.kind, s.text, s.token_ids, s.sampled, s.kept) for s in steps]
        elif way in (4, 5):  # nonsense: every rewind takes more, or less, than there was
            steps = [Step(s.kind, s.text, s.token_ids, s.sampled, s.kept, s.logprobs,
                          Rewind(rng.choice((0, 1, 99))) if s.rewind or rng.random() < 0.2 else None)
                     for s in steps]  # fmt: skip
        elif way in (6, 7):  # another order, and text that its ids do not spell
            rng.shuffle(steps)
            steps = [Step(s.kind, s.text + "!", s.token_ids, s.sampled, s.kept) for s in steps]
        records.append(record("backtrack", f"p{number}", 8, tuple(steps)))
        replies[f"p{number}"] = Trace("p", tuple(steps)).reply
    page = show(page_url=make_page(tmp_path, {"backtrack": records}))
    for key, states, _ in page.evaluate(FOLD):
        assert (states or [""])[-1] == replies[key], key


# -- everybody ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [380, 1280])
def test_it_is_accessible_and_fits(
    show: Callable, accessible: Callable, width: int, dark: bool, no_overflow: Callable
) -> None:
    page = show("#trace=8/gained&arms=backtrack,control&step=4", width=width, dark=dark, reduced_motion="reduce")
    no_overflow(page)
    accessible(page)
    page.goto(page.url.split("#")[0] + "#trace=4/kinds&arms=backtrack,control&colour=1")
    until(page, "document.querySelectorAll('.tw-label').length === 6")
    no_overflow(page)
    accessible(page)
    stacked = page.locator(".tw-card").evaluate_all("cards => cards[0].offsetTop !== cards[1].offsetTop")
    assert stacked is (width == 380)


def test_on_a_phone_a_tap_says_the_probability(show: Callable, no_overflow: Callable) -> None:
    page = show("#trace=8/gained", width=380, height=800, has_touch=True)
    page.locator(".tw-tape .tw-token", has_text="has").first.tap()
    assert "0.82" in page.get_by_role("tooltip").inner_text()
    assert page.get_by_label("Outcome").is_hidden()
    page.get_by_role("button", name="more filters").tap()
    assert choose(page, outcome="lost") == ["8/lost"]
    no_overflow(page)


def test_printing_prints_the_open_trace(show: Callable) -> None:
    page = show("#trace=8/gained&arms=backtrack")
    page.emulate_media(media="print")
    assert page.locator(".tw-tape").is_visible()
    assert page.locator(".tw-list").is_hidden()
    assert page.locator(".tw-filters").is_hidden()
    assert page.locator(".tw-replay").is_hidden()


def test_a_tape_can_be_written_live(show: Callable) -> None:
    page = show("#trace=8/plain")
    shown = page.evaluate(
        """() => {
          const place = document.body.appendChild(document.createElement("div"));
          const tape = new thinktwice.Tape(place, { label: "a live reply" });
          tape.write("1", { logprob: -0.1 });
          tape.write("2", { logprob: -3 });
          tape.write("<undo>", { logprob: -0.2, kind: "undo" });
          tape.reject("9", { logprob: -1 });
          tape.remove(2);
          tape.ban(["2"]);
          tape.write("3", { inserted: true });
          tape.end("budget");
          return [tape.visible, place.textContent, place.getAttribute("aria-label"),
            [...place.querySelectorAll(".tw-gone")].map((node) => node.textContent)];
        }"""
    )
    assert shown == ["13", "12↶9cannot be: 23out of tokens", "a live reply", ["2", "↶"]]
