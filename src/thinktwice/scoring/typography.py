r"""What does not change an answer: LaTeX's spacing and synonyms, dollars, percent and degree signs, units.

The field's graders ignore these (Hendrycks et al. 2021), so two answers that differ in them alone are one. Units go
only after a number: `2 m` is 2, `2x m` is a product.
"""

import re

_UNITS = re.compile(
    r"(?<=[\d})])(?:\s*(?:[cmk]m|kg|ft|mph)|\s+(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:m|g|in|[A-Za-z]{2,}\.?))"
    r"(?:\s*(?:/|per)\s*[A-Za-z]+)?(?:\s+[A-Za-z]{2,})*(?:\s*\^\s*\{?[23]\}?)?\s*$"
)
_NO_UNIT = re.compile(r"\b(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|infinity|infty|or|and)\b")
_SYMBOL = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_TEXT = re.compile(
    r"\\(?:text|mbox|textbf|textit|textrm|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}(\s*\^\s*\{?[23]\}?)?"
)
_DROPPED = re.compile(
    r"(\\\\)|\\left|\\right|\\[!,;:> ]|\\displaystyle|\\(?:big|Big|bigg|Bigg)[lr]?(?![A-Za-z])"
    r"|\^\s*\{?\s*\\circ\s*\}?|\\degree|\\[$%]|[$%°~]|\\q?quad|\\limits"
)
_PLAIN = (
    *(("−", "-"), ("–", "-"), ("π", r"\pi "), ("∞", r"\infty "), ("×", r"\times "), ("·", r"\cdot "), ("÷", "/")),
    *(("∪", r"\cup "), ("≤", r"\le "), ("≥", r"\ge "), ("±", r"\pm "), ("√", r"\sqrt "), ("²", "^2"), ("³", "^3")),
    *((r"\{", " ⟨ "), (r"\}", " ⟩ "), (r"\lbrace", " ⟨ "), (r"\rbrace", " ⟩ "), ("{,}", ","), (r"\,", ""), ("**", "^")),
    *(("<=", r"\le "), (">=", r"\ge "), (r"\dfrac", r"\frac"), (r"\tfrac", r"\frac"), (r"\cfrac", r"\frac")),
    *((r"\lvert", "|"), (r"\rvert", "|"), (r"\leq", r"\le"), (r"\geq", r"\ge"), (r"\dots", r"\ldots"), (r"\div", "/")),
)


def clean(text: str) -> str:
    """Return an answer without the typography that does not change it: dollars, percent, degrees, spacing, units."""
    text = text.strip().removesuffix(".")
    for old, new in _PLAIN:
        text = text.replace(old, new)
    text = _DROPPED.sub(lambda found: found.group(1) or " ", text)  # the line break of a matrix stays
    text = re.sub(r"^\s*[A-Za-z]\s*\\in(?![A-Za-z])", "", text)
    text = _TEXT.sub(lambda found: _word(found, text), text)
    text = re.sub(r"(?<=[\s\d)}])(?:or|and)(?=[\s\\(-])", ",", text)
    bare = _UNITS.sub("", text)
    unit, value = text[len(bare) :], re.sub(r"^\s*[A-Za-z]\s*=|\\[A-Za-z]+", "", bare)
    return (text if _NO_UNIT.search(unit) or _SYMBOL.search(value) else bare).strip()  # 2x m is a product


def _word(found: re.Match[str], whole: str) -> str:
    """Keep a text that is all there is, join by a comma what `or` and `and` join, drop units."""
    said, raised = found.group(1).strip(), found.group(2) or ""
    if said in ("or", "and", ", and", ", or", ","):
        return f" , {raised}"
    if not whole[: found.start()].strip():
        return f" {said} {raised}"
    return " " if not whole[found.end() :].strip(" .") else found.group()
