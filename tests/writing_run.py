"""A process that writes the answers of two arms, two at a time, and then waits to be killed. Run by test_status.py."""

import json
import sys
import time
from pathlib import Path

from thinktwice.config import Recipe, load, to_dict
from thinktwice.records import TraceRecord
from thinktwice.run import Progress, Run
from thinktwice.types import Score, Trace


def main(recipe: Recipe, root: Path) -> None:
    with Run.open(root, to_dict(recipe)) as run:
        run.begin(["base", "solve-control", "solve-backtrack", "summary"])
        for arm in ("control", "backtrack"):
            answers = run.traces(arm)
            for n in range(0, 40, 2):
                scores = {f"2/p{n}": n % 3 / 2, f"2/p{n + 1}": 1.0}
                answers.append(
                    [to_dict(TraceRecord(key, arm, 2, "q", "1", Trace(key), Score(v))) for key, v in scores.items()]
                )
                run.tell(Progress(f"solve-{arm}", n / 40))
                time.sleep(0.01)
        print(json.dumps("written"), flush=True)
        time.sleep(60)


if __name__ == "__main__":
    main(load(Recipe, Path(sys.argv[1])), Path(sys.argv[2]))
