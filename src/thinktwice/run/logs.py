"""One log an attempt, complete; the terminal gets warnings only."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path


def begin(root: Path) -> list[logging.Handler]:
    """Log to the next `logs/attempt_N.log` from now on, and return what `end` must be given."""
    folder = root / "logs"
    folder.mkdir(exist_ok=True)
    numbers = [int(found[1]) for p in folder.iterdir() if (found := re.fullmatch(r"attempt_(\d+)\.log", p.name))]
    handler = logging.FileHandler(folder / f"attempt_{max(numbers, default=0) + 1}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handlers: list[logging.Handler] = [handler]
    logger = logging.getLogger("thinktwice")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():  # a library user without logging set up still sees warnings
        console = logging.StreamHandler()
        console.setLevel(logging.WARNING)
        handlers.append(console)
    for each in handlers:
        logger.addHandler(each)
    return handlers


def end(handlers: Sequence[logging.Handler]) -> None:
    """Stop logging there."""
    for handler in handlers:
        logging.getLogger("thinktwice").removeHandler(handler)
        handler.close()
