"""ReAct episodes: many in flight or one at a time, refilled slots or lock-step turns, waiting or blocking.

    OMP_NUM_THREADS=2 python benchmarks/react.py [--questions 256] [--rounds 3] [--search 3000,66000] [--out react.json]

The same random model of the nano base's size answers the same questions in every arm, with a rule that makes it act as
a trained one does: some two dozen tokens a turn, an answer after one to eight searches. Observations are pages of the
wiki world. Arms run in turn, round after round, and a ratio is the median over rounds, so that a busy machine decides
little. Lock-step is the loop that most agent code has: one turn of a batch, its tools (in threads, too), the next turn,
until the last of the batch is done.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from thinktwice.engines.local import LocalEngine
from thinktwice.methods.react.episode import ANSWER
from thinktwice.methods.react.grammar import Grammar, build_grammar
from thinktwice.methods.react.observation import Desk, show
from thinktwice.methods.react.play import play, step
from thinktwice.methods.react.tags import tag_tokens
from thinktwice.methods.react.written import read_episode
from thinktwice.nano import resolve
from thinktwice.render import Render
from thinktwice.tasks.worlds.wiki import Encyclopedia, problems
from thinktwice.tools import Passage
from thinktwice.tools.documents import world_documents
from thinktwice.types import Problem, Sampling, Trace

BATCH, QUESTIONS, ROUNDS, TURN, MAX_TURNS, OBSERVATION = 64, 256, 3, 24, 8, 64
DELAYS = (0.0, 0.02)
QUERY = 7
"""Tokens of a query, with its tags; the rest of a turn is thought."""


class Shelf:
    """One page for any query, which says nothing of the question; after `delay` seconds."""

    corpus = "benchmark"

    def __init__(self, pages: Sequence[Passage], delay: float, slow: bool) -> None:
        self.pages, self.delay, self.slow = pages, delay, slow

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return a page that the query decides."""
        if self.delay:
            time.sleep(self.delay)
        return (self.pages[sum(query.encode()) % len(self.pages)],)

    def open(self, title: str) -> Passage | None:
        """There is none."""
        return None


class Acting:
    """Makes a model act: every so many tokens a search, or, one time in three, the answer."""

    def __init__(self, grammar: Grammar) -> None:
        self.marks = grammar.tokens
        self.silent = torch.tensor(sorted({*grammar.tokens.values(), grammar.render.end_id}))

    def __call__(self, rows: Any, logits: torch.Tensor) -> torch.Tensor:
        """Force tags where they are due; nowhere else are there any."""
        phase, last = rows.drawn % TURN, rows.last_ids
        logits[:, self.silent] = float("-inf")
        # What a row does at the beginning of its action follows from its own words.
        opens = phase == TURN - QUERY
        for places, mark in (
            (opens & (last % 3 != 0), "<search>"),
            (opens & (last % 3 == 0), "<answer>"),
        ):
            logits[places.nonzero()[0], self.marks[mark]] = 1e9
        closing = (phase == TURN - 1).nonzero()[0].tolist()
        for index in closing:
            mark = "</answer>" if self.marks["<answer>"] in rows[index].token_ids[-QUERY:] else "</search>"
            logits[index, self.marks[mark]] = 1e9
        return logits


def setting(questions: int) -> tuple[Any, Grammar, list[Problem], list[Passage]]:
    """A random model with tags, and questions and pages of the wiki world."""
    tokenizer = AutoTokenizer.from_pretrained(resolve("nano"))
    tokenizer.add_tokens([token.token for token in tag_tokens()], special_tokens=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=None,
    )
    grammar = build_grammar("tags", Render(tokenizer))
    world = Encyclopedia()
    drawn = problems(world, 0, (1, 4))
    pages = [Passage(document.title, document.text) for document in world_documents(world)][:500]
    return LlamaForCausalLM(config).eval(), grammar, [next(drawn) for _ in range(questions)], pages


def lock_step(
    asked: Sequence[Problem], engine: LocalEngine, sampling: Sampling, grammar: Grammar, shelf: Shelf, acting: Acting
) -> list[tuple[int, ...]]:
    """Turn after turn, batch after batch: nobody begins the next one before the last has ended this one."""
    done: dict[int, tuple[int, ...]] = {}
    with ThreadPoolExecutor(32) as pool:
        for first in range(0, len(asked), BATCH):
            going = {i: grammar.prompt(asked[i].prompt) for i in range(first, min(first + BATCH, len(asked)))}
            prompts = {i: len(ids) for i, ids in going.items()}
            desk = Desk(shelf, 1, pool if shelf.delay else None)
            for turn in range(MAX_TURNS + 1):
                if not going:
                    break
                numbers = list(going)
                contexts = [going[i] for i in numbers]
                keys = [asked[i].key for i in numbers]
                written = step(contexts, engine, sampling, grammar, keys, rules=(acting,))
                calls = {
                    i: desk.call(said.tool, said.argument)
                    for i, (_, said) in zip(numbers, written, strict=True)
                    if said.tool not in ("", ANSWER)
                }
                for i, (ids, _) in zip(numbers, written, strict=True):
                    going[i] = (*going[i], *ids)
                    if i not in calls or turn == MAX_TURNS:
                        done[i] = going.pop(i)[prompts[i] :]
                        continue
                    text, _ = show(calls[i].result(), OBSERVATION, grammar.render)
                    going[i] += grammar.observe(text) + (grammar.force() if turn == MAX_TURNS - 1 else ())
    return [done[i] for i in range(len(asked))]


def seconds(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """How long it takes, how much of a processor's time (which a busy machine does not take away), what it gives."""
    start, busy = time.perf_counter(), time.process_time()
    made = work()
    return time.perf_counter() - start, time.process_time() - busy, made


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """How many times longer than in flight: medians over rounds that ran both."""
    return {
        name: statistics.median(a / b for a, b in zip(times[name], times["in flight"], strict=True))
        for name in times
        if name != "in flight"
    }


def measure(questions: int, rounds: int, delays: Sequence[float] = DELAYS) -> dict[str, Any]:
    """Run every arm in every round; return seconds, ratios, and how long the episodes were."""
    model, grammar, asked, pages = setting(questions)
    sampling, acting = Sampling(max_new_tokens=(MAX_TURNS + 2) * TURN), Acting(grammar)
    tokenizer = grammar.render.tokenizer
    many, one = (LocalEngine(model, tokenizer, batch_size=size) for size in (BATCH, 1))

    def episodes(engine: LocalEngine, shelf: Shelf) -> list[Trace]:
        options: dict[str, Any] = {"max_turns": MAX_TURNS, "observation_tokens": OBSERVATION, "rules": (acting,)}
        return play(asked, engine, grammar.render, sampling, grammar=grammar, retriever=shelf, k=1, **options)

    found: dict[str, Any] = {}
    for delay in delays:
        arms: dict[str, Callable[[], Any]] = {
            "in flight": lambda d=delay: episodes(many, Shelf(pages, d, slow=d > 0)),
            "lock-step": lambda d=delay: lock_step(asked, many, sampling, grammar, Shelf(pages, d, slow=d > 0), acting),
            "one at a time": lambda d=delay: episodes(one, Shelf(pages, d, slow=False)),
        }
        if delay:
            arms["blocking"] = lambda d=delay: episodes(many, Shelf(pages, d, slow=False))
        took: dict[str, list[float]] = {name: [] for name in arms}
        worked: dict[str, list[float]] = {name: [] for name in arms}
        made: dict[str, Any] = {}
        for _ in range(rounds):
            for name, work in arms.items():
                spent, busy, made[name] = seconds(work)
                took[name].append(spent)
                worked[name].append(busy)
        whole = [tuple(i for s in trace.kept for i in s.token_ids) for trace in made["in flight"]]
        alone = [tuple(i for s in trace.kept for i in s.token_ids) for trace in made["one at a time"]]
        turns = [len(read_episode(trace, grammar).turns) for trace in made["in flight"]]
        found[f"{delay * 1000:g} ms"] = {
            "seconds": {name: statistics.median(times) for name, times in took.items()},
            "ratios": ratios(took),
            "ratios of processor time": ratios(worked),
            "episodes a second": len(asked) / statistics.median(took["in flight"]),
            "turns": {str(n): turns.count(n) for n in sorted(set(turns))},
            "the same tokens one at a time": sum(a == b for a, b in zip(whole, alone, strict=True)),
            "the same tokens in lock-step": sum(a == b for a, b in zip(whole, made["lock-step"], strict=True)),
        }
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "questions": questions,
        "batch": BATCH,
        "parameters": parameters,
        "threads": torch.get_num_threads(),
        **found,
    }


def latency(sizes: str) -> Any:
    """What benchmarks/search.py measures."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "search.json"
        script = str(Path(__file__).with_name("search.py"))
        subprocess.run([sys.executable, script, "--sizes", sizes, "--out", str(out)], check=True)
        return json.loads(out.read_text())["sizes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--search", default="", help="sizes of corpora whose latency is measured too: 3000,66000,500000"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options.questions, options.rounds)
    if options.search:
        found["search"] = latency(options.search)
    print(json.dumps(found, indent=2))
    for delay in (name for name in found if name.endswith(" ms")):
        than = found[delay]["ratios"]
        print(f"\na tool of {delay}: {found[delay]['episodes a second']:.1f} episodes a second, {BATCH} in flight")
        print(f"one at a time / in flight  {than['one at a time']:6.2f}   (aim 8)")
        print(f"lock-step / in flight      {than['lock-step']:6.2f}")
        if "blocking" in than:
            print(f"blocking / waiting         {than['blocking']:6.2f}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
