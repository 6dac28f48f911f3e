"""Text out of a run, for one line of a page. Law: whatever it holds, it stays short, printable and in its place."""

from thinktwice.show import printable

BIDI = {ord(c): f"\\u{ord(c):04x}" for c in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
"""What changes the direction of writing is spelled out."""


def clip(text: str, longest: int) -> str:
    """Return text on one line, cut to `longest` characters, with control and direction characters spelled out."""
    shown = " ".join(printable(text[: 2 * longest]).translate(BIDI).split())
    return shown if len(shown) <= longest and len(text) <= 2 * longest else f"{shown[: longest - 1]}…"
