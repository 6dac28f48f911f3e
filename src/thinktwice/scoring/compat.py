r"""The scoring rules of the public planning-token code, faults included, to compare with its published numbers.

Sources: `load_data/preprocess.py` of WANGXinyiLinda/planning_tokens and MingyuJ666/Disentangling-Memory-and-Reasoning.
Use `numeric`, `choice` and `math` for anything else. What these rules do that a score should not:

* they read prompt and reply as one text, so an answer may be found in the question;
* `number`: the *first* statement counts, equality is of strings: `18.` and `18.00` are not `18`, `true` is not `True`;
* `option`: the first letter of whatever follows the last "The answer is:" ("Bad luck" says B), and without that
  phrase the last such letter anywhere in the text;
* `expression`: 4 % relative tolerance, and an integer reference equals whatever rounds to it (3.4 is 3).

One thing is not repeated: they ran Python's `eval` on text that a model wrote. Here the same arithmetic is parsed.
"""

import re

from thinktwice.scoring.math import boxed, plain, rational
from thinktwice.types import Score

INVALID = "[invalid]"
TOLERANCE = 0.04
_FIRST = re.compile(r"The answer is: (-?[0-9.,]+|true|false)", re.IGNORECASE)


def _judge(found: str, expected: str, same: bool) -> Score:
    answer = None if found == INVALID else found
    return Score(float(same), answer, f"compat: {found}" if same else f"compat: {found}; expected {expected}")


def _first(text: str) -> str:
    found = _FIRST.search(text)
    return INVALID if found is None else found.group(1).strip().replace(",", "")


def number(text: str, reference: str, *, trim_zeros: bool = False) -> Score:
    """Judge prompt and reply as for GSM8K and StrategyQA; `trim_zeros` (SVAMP) also takes 18.0 for 18."""
    found, expected = _first(text), reference.replace(",", "")
    if trim_zeros:
        found, expected = _trimmed(found), _trimmed(expected)
    return _judge(found, expected, found == expected)


def _trimmed(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() else str(value)


def option(text: str, reference: str, letters: str = "ABCDE") -> Score:
    """Judge prompt and reply as for AQuA and CommonsenseQA (A to E) and TruthfulQA (A to N)."""
    parts = text.split("The answer is:")
    said = re.findall(f"[{letters}]", parts[-1].strip().upper())
    found = (said[0] if len(parts) > 1 else said[-1]) if said else INVALID
    return _judge(found, reference, found == reference)


def expression(text: str, reference: str) -> Score:
    """Judge prompt and reply as for MATH."""
    found = _expression(text)
    if plain(found) == plain(reference):
        return _judge(found, reference, True)
    value, expected = rational(found), rational(reference)
    if value is None or expected is None:
        return _judge(found, reference, False)
    if expected.denominator == 1:
        return _judge(found, reference, round(value) == expected)
    return _judge(found, reference, abs(value - expected) <= abs(expected) * TOLERANCE)


def _expression(text: str) -> str:
    said = INVALID
    if "The answer is:" in text:
        said = text.rpartition("The answer is:")[2].strip()
    elif "the answer is " in text or "The answer is " in text:  # with a capital, they take the whole text
        said = text.rpartition("the answer is ")[2].strip()
    elif "boxed" not in text:
        numbers = re.findall(r"-?\d*\.?\d+", text)
        said = numbers[-1] if numbers else ""
    else:
        said = text
    inner = boxed(said)
    return (said if inner is None else inner).removesuffix(".").removesuffix("/").strip()
