"""The local page as a user meets it: a real browser, a real server on loopback, real small runs."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from thinktwice import pipeline
from thinktwice.config import Recipe, load
from thinktwice.run import Progress, Run
from thinktwice.ui import serving, shelf

RECIPE = Path(__file__).parents[2] / "recipes/backtrack.yaml"
SMALL = {
    "name": "small", "model.path": "nano", "task.operations": [1, 2], "task.levels": [1, 2], "task.train": 40,
    "task.per_level": 6, "method.biases": [20.0], "train.steps": 4, "train.tokens_per_step": 500,
    "decode.max_new_tokens": 60, "evaluation.problems": 6, "evaluation.dev_problems": 2, "evaluation.levels": [1, 2],
    "evaluation.in_distribution": 1, "headline.level": 2,
}  # fmt: skip
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202egnp.exe\u0007</p>"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = load(Recipe, RECIPE, [f"{key}={value}" for key, value in SMALL.items()])
    return pipeline.run_recipe(recipe, tmp_path_factory.mktemp("made") / "small")


@pytest.fixture(scope="session")
def shared(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a finished run, its twin, a stopped and a damaged one; tests only read them."""
    place = tmp_path_factory.mktemp("served") / "runs"
    for name in ("small", "twin", "stopped-in-the-middle-of-its-long-name"):
        shutil.copytree(made, place / name)
    (place / "stopped-in-the-middle-of-its-long-name/summary.json").unlink()
    (place / "damaged").mkdir()
    (place / "damaged/config.json").write_text(json.dumps({HOSTILE: 1}))
    with serving(place) as address:
        yield address


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serve a model that says what it is told: `scripted(texts, for_ever=False, fault="")` returns (address, ended)."""
    servers = []

    def go(texts: list[str], *, for_ever: bool = False, fault: str = ""):
        ended = threading.Event()
        render = SimpleNamespace(
            text=lambda ids: "".join(texts[i] for i in ids), tokenizer=SimpleNamespace(get_vocab=dict)
        )

        def answer(question, sampling, *, on_event, bias=None):
            pause = threading.Event()
            try:
                while True:
                    for i in range(len(texts)):
                        on_event(SimpleNamespace(kind="written", token_ids=(i,), logprob=-0.5), None)
                        pause.wait(0.002)
                    on_event(SimpleNamespace(kind="rejected", token_ids=(0,), logprob=-3.0), None)
                    on_event(SimpleNamespace(kind="deleted", token_ids=(0,), logprob=None), None)
                    on_event(SimpleNamespace(kind="banned", token_ids=(0,), logprob=None), None)
                    if fault:
                        raise RuntimeError(fault)
                    if not for_ever:
                        break
            finally:
                ended.set()
            step = SimpleNamespace(kind="text", token_ids=(0,))
            return SimpleNamespace(steps=[step], stop="budget", error=None, reply="", sampled_tokens=len(texts))

        model = SimpleNamespace(method=object(), render=render, retracts=False, answer=answer)
        monkeypatch.setattr(shelf, "open_model", lambda place: model)
        server = serving(tmp_path / "runs", ["scripted"])
        servers.append(server)
        return server.__enter__(), ended

    yield go
    for server in servers:
        server.__exit__(None, None, None)


def settled(page) -> None:
    """Wait until nothing is being answered."""
    page.locator("#go", has_text="Ask").wait_for()


def test_from_the_list_to_a_trace_and_back(open_page, shared):
    page = open_page(shared)
    assert page.locator("[data-run]").count() == 4
    assert page.locator("[data-run=small] .pill").inner_text() == "finished"
    page.click("[data-run=small] a")
    page.locator("#traces").wait_for()
    page.locator("nav.ui-bar >> text=Runs").click()
    page.locator("h1", has_text="Runs").wait_for()


def test_a_link_from_the_playground_opens_the_trace_in_the_report(open_page, shared):
    page = open_page(f"{shared}/playground?model=small/control&pace=0")
    page.locator(".sample").first.click()
    page.locator("#pane-model .judged").wait_for()
    page.locator("#pane-model a").click()
    page.wait_for_url("**/run/small#trace=*")
    page.locator("#traces .tw-tape").first.wait_for()


def test_two_runs_are_selected_and_compared(open_page, shared):
    page = open_page(shared)
    compare = page.locator("#compare")
    assert compare.is_disabled()
    page.check("input[value=small]")
    assert compare.is_disabled()
    page.check("input[value=twin]")
    assert compare.inner_text() == "Compare 2 runs"
    compare.click()
    page.wait_for_url("**/compare?run=*&run=*")
    assert "small" in page.content()
    page.locator('main a[href="/run/twin"]').first.wait_for()


def test_a_question_is_answered_by_the_model_and_its_control(open_page, shared):
    page = open_page(f"{shared}/playground?run=small")
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/answer") else None)
    assert page.locator("#bias-shown").inner_text() == "+20, as calibrated"
    page.select_option("#pace", "0")
    page.locator(".sample").first.click()
    page.locator("#pane-model .judged").wait_for()
    page.locator("#pane-beside .judged").wait_for()
    settled(page)
    assert [request["model"] for request in asked] == ["small/backtrack", "small/control"]
    assert all(request["bias"] is None for request in asked)
    assert page.locator("#pane-model .tw-gone").count() > 0
    assert page.locator("#pane-model .tw-ban").count() > 0
    assert page.locator("#pane-beside .tw-gone").count() == 0
    assert "taken back in" in page.locator("#pane-model .facts").inner_text()
    assert "reference" in page.locator("#pane-model .judged").inner_text()


def test_a_graded_verdict_is_partly_right(open_page, shared):
    page = open_page(f"{shared}/playground?model=small/control&pace=0")

    def grade(route):
        answer = route.fetch()
        told = [json.loads(line.removeprefix("data: ")) for line in answer.text().split("\n\n") if line]
        assert told[-1]["kind"] == "judged"
        told[-1] |= {"right": False, "value": 2 / 3}
        route.fulfill(response=answer, body="".join(f"data: {json.dumps(message)}\n\n" for message in told))

    page.route("**/answer", grade)
    page.locator(".sample").first.click()
    page.locator("#pane-model .judged.partly").wait_for()
    said = page.locator("#pane-model .judged").inner_text()
    assert said.startswith("≈ partly right, 0.67: ")
    assert "reference" in said


def test_settings_reach_the_model_and_the_address_brings_them_back(open_page, shared):
    page = open_page(f"{shared}/playground?run=small&pace=0")
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/answer") else None)
    page.fill("#question", "Ann has 3 pens. How many pens does Ann have?")
    page.locator("#bias").fill("-8")
    page.locator("#temperature").fill("0.5")
    page.locator("#budget").fill("32")
    page.fill("#seed", "7")
    page.keyboard.press("Tab")
    page.select_option("#beside", "nothing")
    page.locator("#question").press("Enter")
    page.locator("#pane-model .facts").wait_for()
    settled(page)
    assert len(asked) == 1  # nothing stands beside
    assert (asked[0]["bias"], asked[0]["temperature"]) == (-8, 0.5)
    assert (asked[0]["max_new_tokens"], asked[0]["seed"]) == (32, 7)
    assert "nothing taken back" in page.locator("#pane-model .facts").inner_text()
    again = open_page(page.url)
    assert again.input_value("#question") == "Ann has 3 pens. How many pens does Ann have?"
    assert [again.input_value(f"#{dial}") for dial in ("bias", "temperature", "budget", "seed")] == [
        "-8", "0.5", "32", "7",
    ]  # fmt: skip
    assert again.input_value("#beside") == "nothing"
    assert again.locator(".tw-token").count() == 0  # a link never asks by itself
    again.click("#bias-reset")
    assert again.locator("#bias-shown").inner_text() == "+20, as calibrated"


def test_stop_stops_the_decoding(open_page, scripted):
    address, ended = scripted(["word "], for_ever=True)
    page = open_page(f"{address}/playground?pace=0")
    page.fill("#question", "For ever?")
    page.click("#go")
    page.locator(".tw-token").nth(3).wait_for()
    assert not ended.is_set()
    page.click("text=Stop")
    assert ended.wait(20)
    settled(page)
    page.locator(".tw-end", has_text="stopped by you").wait_for()


def test_what_a_model_writes_is_text(open_page, scripted, no_overflow):
    """A dialog, a console error, an exception or a request to another host would fail this test by itself."""
    address, _ = scripted([HOSTILE, "<b>bold</b>", "x" * 5000, "\n"])
    page = open_page(f"{address}/playground?pace=0&question=%3Cscript%3Ealert(3)%3C/script%3E&model=%3Cimg%3E")
    assert page.input_value("#question") == "<script>alert(3)</script>"
    page.click("#go")
    page.locator("#pane-model .facts").wait_for()
    tape = page.locator("#pane-model .tape")
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>\\u202egnp.exe\\x07</p>" in tape.inner_text()
    assert page.locator("main script:not([type='application/json']), main img, main b").count() == 0
    no_overflow(page)


def test_a_fault_of_the_model_is_a_message_in_its_pane(open_page, scripted):
    address, _ = scripted(["a", "b"], fault=f"out of memory {HOSTILE}")
    page = open_page(f"{address}/playground")
    page.fill("#question", "?")
    page.click("#go")
    page.locator("#pane-model [role=alert]", has_text="out of memory").wait_for()
    settled(page)


def test_a_server_that_went_away_is_a_message(open_page, tmp_path):
    with serving(tmp_path / "runs") as address:
        page = open_page(f"{address}/playground")
        page.fill("#question", "?")
        page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('network gone')); }")
        page.click("#go")
        page.locator("#pane-model [role=alert]", has_text="network gone").wait_for()


def test_a_running_run_shows_its_progress_and_becomes_its_report(open_page, accessible, made, tmp_path):
    place = tmp_path / "runs"
    config = json.loads((made / "config.json").read_text()) | {"name": "fresh"}
    rows = {arm: list(Run.load(made).traces(arm).done.values()) for arm in ("control", "backtrack")}
    hard = [row["key"] for row in rows["control"] if row["level"] == 2]
    with serving(place) as address:
        with Run.open(place / "fresh", config) as run:
            run.begin(["base", "solve-control", "solve-backtrack", "summary"])
            run.stage("base", lambda stage: None)
            run.tell(Progress("solve-control", 0.5, "3 of 6 problems", 1234.0, 90.0))
            listed = open_page(address)
            listed.locator("[data-doing]", has_text="solve-control").wait_for()
            page = open_page(f"{address}/run/fresh")
            page.locator(".stage[data-state=running] >> text=3 of 6 problems").wait_for()
            assert "1,234 tokens/s" in page.locator("#overall").inner_text()
            assert page.locator(".stage[data-state=done]").count() == 1
            for name in ("control", "backtrack"):
                run.traces(name).append([row for row in rows[name] if row["key"] in hard[:3]])
            page.locator("#gain-words", has_text="on 3 of 6 problems").wait_for()
            for name in ("control", "backtrack"):
                run.traces(name).append([row for row in rows[name] if row["key"] not in hard[:3]])
            page.locator("#gain-words", has_text="on 6 of 6 problems").wait_for()
            assert page.locator("svg.funnel polygon.band").count() == 1
            accessible(page)
            run.write_summary(json.loads((made / "summary.json").read_text()))
        page.locator("nav.ui-bar").wait_for()  # the report, by itself
        listed.locator("[data-run=fresh] .pill.finished").wait_for()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_accessible_in_both_themes(open_page, accessible, shared, dark):
    page = open_page(shared, dark=dark, reduced_motion="reduce")  # a flash is over before it can be read
    accessible(page)
    page.goto(f"{shared}/run/stopped-in-the-middle-of-its-long-name")
    accessible(page)
    page.goto(f"{shared}/playground?run=small&pace=0")
    page.locator(".sample").first.click()
    page.locator("#pane-beside .judged").wait_for()
    settled(page)
    accessible(page)


def test_nothing_is_wider_than_a_phone(open_page, shared, no_overflow):
    page = open_page(shared, width=380, height=800)
    no_overflow(page)
    for path in ("/run/small", "/compare?run=small&run=twin", "/run/stopped-in-the-middle-of-its-long-name"):
        page.goto(shared + path)
        no_overflow(page)
    page.goto(f"{shared}/playground?run=small&pace=0")
    assert not page.locator("#bias").is_visible()  # folded away
    page.click("summary")
    assert page.locator("#bias").is_visible()
    page.locator(".sample").first.click()
    page.locator("#pane-beside .judged").wait_for()
    no_overflow(page)
    assert page.locator("#pane-model").is_visible()


def test_the_theme_is_turned_and_remembered_on_every_page(open_page, shared):
    page = open_page(shared)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    toggle = page.locator("[data-theme-toggle]")
    toggle.click()
    toggle.click()
    assert page.evaluate(paper) != light
    dark = page.evaluate(paper)
    for path in ("/playground", "/run/small"):
        page.goto(shared + path)
        assert page.evaluate(paper) == dark


def test_hostile_names_and_reasons_are_text(open_page, shared):
    page = open_page(shared)
    assert "alert(1)" in page.locator("[data-run=damaged]").inner_text()
    assert page.locator("main script, main img").count() == 0
