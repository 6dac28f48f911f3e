"""Writes episodes to a store in a process of its own, three at a time, and says so. Run by test_store.py."""

import sys
from pathlib import Path

from thinktwice.methods.react.store import Attempt, Key, Store
from thinktwice.types import Trace


def row(number: int) -> tuple[Key, Attempt]:
    key = Key(f"p{number}", "policy", "corpus", "prompt", "decoding")
    return key, Attempt(Trace(f"p{number}"), number / 100, "x" * 2000, (number,))


if __name__ == "__main__":
    with Store(Path(sys.argv[1])) as store:
        wanted = [row(number) for number in range(int(sys.argv[2]))]
        left = set(store.missing([key for key, _ in wanted]))
        todo = [(key, attempt) for key, attempt in wanted if key in left]
        for start in range(0, len(todo), 3):
            new = store.add(todo[start : start + 3])
            print("added", new, flush=True)
