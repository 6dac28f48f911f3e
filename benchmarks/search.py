"""Latency of FTS5 and bm25s as a corpus grows: p50, p95, and their ratios, measured in one run.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--sizes 3000,66000,500000] [--data hotpotqa_300] [--out search.json]

Documents are HotpotQA's paragraphs where `--data` has them (else those of the wiki world), then synthetic ones: words
drawn from the real ones' by their frequency, of the real ones' lengths. Queries are questions (seldom has a page every
word) and titles of pages (one has). Each query runs on every engine in turn, so that a busy machine decides little.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

from thinktwice.tasks.worlds.wiki import Encyclopedia, problems
from thinktwice.tools import Retriever
from thinktwice.tools.bm25 import open_bm25
from thinktwice.tools.build import build
from thinktwice.tools.corpus import open_local
from thinktwice.tools.documents import Document, read_documents, rows, world_documents

SIZES = (3_000, 66_000, 500_000)
QUERIES = 200
K = 5


def material(data: Path | None) -> tuple[list[Document], list[str]]:
    """Real documents, and questions about them."""
    if data is not None and data.exists():
        questions = [row["question"] for path in sorted(data.glob("*.json")) for row in rows(path)]
        return list({document.title: document for document in read_documents([data])}.values()), questions
    world = Encyclopedia()
    drawn = problems(world, 0, (1, 4))
    return list(world_documents(world)), [next(drawn).prompt for _ in range(300)]


def padded(real: list[Document], size: int) -> Iterator[Document]:
    """The real documents, then as many of drawn words as are missing."""
    yield from real[:size]
    draw = random.Random(0)
    counts: dict[str, int] = {}
    for document in real:
        for word in document.text.split():
            counts[word] = counts.get(word, 0) + 1
    words, upto = list(counts), list(accumulate(counts.values()))
    lengths = [len(document.text.split()) for document in real]
    for number in range(len(real), size):
        title = " ".join(draw.choices(words, cum_weights=upto, k=2))
        text = " ".join(draw.choices(words, cum_weights=upto, k=draw.choice(lengths)))
        yield Document(f"{title} {number}", text)


def quantiles(seconds: list[float]) -> dict[str, float]:
    """p50 and p95 in milliseconds."""
    return {"p50_ms": 1e3 * statistics.median(seconds), "p95_ms": 1e3 * statistics.quantiles(seconds, n=20)[-1]}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    done = call()
    return time.perf_counter() - start, done


def measure(size: int, real: list[Document], questions: list[str], queries: int, place: Path) -> dict[str, Any]:
    """Build a corpus and ask all engines the same things."""
    path = place / f"{size}.sqlite"
    seconds, built = timed(lambda: build(padded(real, size), path, "benchmark"))
    found: dict[str, Any] = {
        "documents": built.documents,
        "fts5": {"build_s": seconds, "mb": path.stat().st_size / 1e6},
    }
    engines: dict[str, Retriever] = {"fts5": open_local(path)}
    if find_spec("bm25s") is not None:
        seconds, engines["bm25s"] = timed(lambda: open_bm25(path))
        kept = sum(file.stat().st_size for file in Path(f"{path}.bm25").iterdir())
        found["bm25s"] = {"build_s": seconds, "mb": kept / 1e6}
    draw = random.Random(1)
    titles = [document.title for document in real[:size] if document.text]
    asked = {
        "question": draw.sample(questions, min(queries, len(questions))),
        "title": draw.sample(titles, min(queries, len(titles))),
    }
    for kind, texts in asked.items():
        times: dict[str, list[float]] = {name: [] for name in engines}
        for engine in engines.values():
            engine.search(texts[0], K)  # what is loaded once
        for text in texts:
            for name, engine in engines.items():
                times[name].append(timed(lambda engine=engine, text=text: engine.search(text, K))[0])
        for name, seconds_each in times.items():
            found[name][kind] = quantiles(seconds_each)
        if "bm25s" in times:
            ratios = [slow / fast for slow, fast in zip(times["fts5"], times["bm25s"], strict=True)]
            found[f"fts5_over_bm25s_{kind}"] = statistics.median(ratios)
    return found


def tell(found: dict[str, Any]) -> None:
    """Print one size."""
    for name in ("fts5", "bm25s"):
        if name in found:
            one = found[name]
            print(
                f"{found['documents']:,} documents, {name}: built in {one['build_s']:.1f} s, {one['mb']:.1f} MB", end=""
            )
            for kind in ("question", "title"):
                print(f"; a {kind} {one[kind]['p50_ms']:.2f} / {one[kind]['p95_ms']:.2f} ms", end="")
            print(" (p50 / p95)", flush=True)


def compare(results: list[dict[str, Any]]) -> None:
    """Print the ratios: they mean something on a busy machine, too."""
    first = results[0]
    for found in results:
        for kind in ("question", "title"):
            grown = found["fts5"][kind]["p50_ms"] / first["fts5"][kind]["p50_ms"]
            sizes = [f"{size['documents']:,}" for size in (found, first)]
            line = f"a {kind}, {sizes[0]} documents: FTS5 takes {grown:.1f} x its time for {sizes[1]}"
            ratio = found.get(f"fts5_over_bm25s_{kind}")
            print(line + (f", and {ratio:.1f} x bm25s' time" if ratio else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of documents")
    parser.add_argument("--queries", type=int, default=QUERIES, help="of each kind")
    parser.add_argument("--data", type=Path, help="directory of HotpotQA files with contexts")
    parser.add_argument("--out", type=Path, help="where the numbers go, as JSON")
    asked = parser.parse_args()
    real, questions = material(asked.data)
    results = []
    with tempfile.TemporaryDirectory() as place:
        for size in map(int, asked.sizes.split(",")):
            found = measure(size, real, questions, asked.queries, Path(place))
            results.append(found)
            tell(found)
    compare(results)
    if asked.out:
        asked.out.write_text(json.dumps({"k": K, "queries": asked.queries, "sizes": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
