"""The page of a run of 5,000 traces: how long it takes to write, how large it is, how long until a reader can read.

    OMP_NUM_THREADS=1 python benchmarks/report.py [problems arms]

The run is made up: `arith` problems of 4 to 10 operations, their solutions in the nano base's tokens, a retraction in
every second trace of half of the arms, noise as log-probabilities (they compress worse than real ones). Needs Chromium.
Times are medians over rounds, each in a new browser profile; what matters is their ratio to loading an empty page.
"""

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from tokenizers import Tokenizer

from thinktwice import nano
from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import TraceRecord
from thinktwice.report import report
from thinktwice.run import Run, Stage
from thinktwice.tasks.worlds import arith
from thinktwice.types import Rewind, Score, Step, Trace

ROUNDS = 7
LEVELS = (4, 6, 8, 10)

WATCH = """
  const seen = () => {
    const ready = document.querySelector("#traces[data-ready] .tw-row") && document.querySelector(".tw-tape .tw-token");
    if (ready) requestAnimationFrame(() => { window.readable ??= performance.now(); });
    else requestAnimationFrame(seen);
  };
  requestAnimationFrame(seen);
"""
BROWSE = """async () => {
  const list = document.querySelector(".tw-list");
  const next = document.querySelector("[data-view=next]");
  const opening = [];
  for (let i = 0; i < 60; i += 1) {
    const begin = performance.now();
    next.click();
    await thinktwice.viewer.ready;
    opening.push(performance.now() - begin);
  }
  let longest = 0;
  for (let i = 0, before = performance.now(); i < 120; i += 1) {
    list.scrollTop += list.scrollHeight / 120;
    await new Promise(requestAnimationFrame);
    longest = Math.max(longest, performance.now() - before);
    before = performance.now();
  }
  const begin = performance.now();
  await thinktwice.viewer.store.search("no such words", () => {}, new AbortController().signal);
  return {
    opening: opening.sort((a, b) => a - b)[30], longest, search: performance.now() - begin,
    nodes: document.querySelectorAll("#traces *").length, heap: performance.memory.usedJSHeapSize,
  };
}"""


def logprobs(rng: random.Random, n: int) -> tuple[float, ...]:
    return tuple(round(-rng.expovariate(2) if rng.random() < 0.15 else -rng.expovariate(800), 4) for _ in range(n))


def steps(rng: random.Random, tokenizer: Tokenizer, solution: str, retracts: bool) -> tuple[Step, ...]:
    def step(kind: Any, text: str, **more: Any) -> Step:
        ids = tuple(tokenizer.encode(text, add_special_tokens=False).ids)
        return Step(kind, text, ids, logprobs=logprobs(rng, len(ids)), **more)

    lines = solution.splitlines(keepends=True)
    if not retracts or len(lines) < 3:
        return (step("text", solution),)
    at = rng.randrange(1, len(lines) - 1)
    wrong = step("error", lines[-2], kept=False)
    undo = step("undo", "<undo>", kept=False, rewind=Rewind(len(wrong.token_ids) + 1, wrong.token_ids[:1]))
    return (step("text", "".join(lines[:at])), wrong, undo, step("text", "".join(lines[at:])))


def make(root: Path, problems: int, arms: int) -> None:
    rng = random.Random(0)
    tokenizer = Tokenizer.from_file(str(Path(nano.resolve("nano")) / "tokenizer.json"))
    tokenizer.add_special_tokens(["<undo>"])
    names = [f"arm_{i}" for i in range(arms)]
    recipe = Recipe(
        name="benchmark",
        task=Spec("arith", {"operations": [1, 6]}),
        method=Spec("backtrack", {}),
        arms={name: Arm() for name in names},
        evaluation=Evaluation(levels=LEVELS, in_distribution=LEVELS[0]),
        headline=Headline(names[0], names[-1], LEVELS[2]),
    )
    asked = [(LEVELS[i % 4], *arith.generate(rng, LEVELS[i % 4], 2)) for i in range(problems)]

    def base(stage: Stage) -> None:
        tokenizer.save(str(stage.path / "tokenizer.json"))

    with Run.open(root, to_dict(recipe)) as run:
        run.stage("base", base)
        for number, name in enumerate(names):
            rows = []
            for i, (level, question, solution) in enumerate(asked):
                right = rng.random() < 0.8
                trace = Trace(f"p{i}", steps(rng, tokenizer, solution, number < arms / 2 and i % 2 == 0))
                score = Score(float(right), solution.split()[-1], "stated")
                failure = "" if right else rng.choice(("wrong_operand", "copied_wrong", "out of tokens"))
                rows.append(TraceRecord(f"{level}/p{i}", name, level, question, "?", trace, score, failure))
            run.traces(name).append([to_dict(row) for row in rows])


def load(browser: Browser, path: Path) -> tuple[float, dict[str, float]]:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(WATCH)
    page.goto(path.as_uri())
    while not (readable := page.evaluate("window.readable ?? 0")):
        page.wait_for_timeout(5)
    found = page.evaluate(BROWSE)
    page.context.close()
    return readable, found


def empty(browser: Browser, path: Path) -> float:
    page = browser.new_context().new_page()
    page.goto(path.as_uri())
    shown: float = page.evaluate("new Promise(done => requestAnimationFrame(() => done(performance.now())))")
    page.context.close()
    return shown


def main() -> None:
    problems, arms = [int(word) for word in sys.argv[1:]] or [2500, 2]
    chromium = os.environ.get("THINKTWICE_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        root = Path(folder) / "run"
        make(root, problems, arms)
        begin = time.perf_counter()
        page = report(root)
        writing = time.perf_counter() - begin
        rows = sum(path.stat().st_size for path in (root / "traces").glob("*.jsonl"))
        size = page.stat().st_size
        nothing = Path(folder) / "empty.html"
        nothing.write_text("<!doctype html><title>empty</title><p>nothing")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        rounds = [(empty(browser, nothing), *load(browser, page)) for _ in range(ROUNDS)]
        browser.close()
    bare, readable = (statistics.median(r[place] for r in rounds) for place in (0, 1))
    found = {name: statistics.median(r[2][name] for r in rounds) for name in rounds[0][2]}
    print(f"{problems * arms:,} traces: {rows / 1e6:.1f} MB of rows, page {size / 1e6:.2f} MB ({rows / size:.1f} to 1)")
    print(f"written in {writing:.1f} s, {1000 * writing / problems / arms:.2f} ms a trace")
    print(f"readable after {readable:.0f} ms, {readable / bare:.1f} times an empty page ({bare:.0f} ms); aim: 2,000 ms")
    print(f"another trace: {found['opening']:.1f} ms; longest frame while scrolling: {found['longest']:.0f} ms")
    print(
        f"all texts searched in {found['search']:.0f} ms; {found['nodes']:.0f} nodes, {found['heap'] / 1e6:.0f} MB heap"
    )


if __name__ == "__main__":
    main()
