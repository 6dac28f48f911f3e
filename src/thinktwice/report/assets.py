"""Style sheets and scripts of the pages, as text. Law 9: a page runs the scripts its policy names, and no other."""

import base64
import gzip
import hashlib
import json
from importlib.resources import files
from typing import Any


def asset(name: str) -> str:
    """Return the text of a file that lies beside this one: "style.css", "theme.js", ..."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def content_policy(*scripts: str) -> str:
    """Return the Content-Security-Policy of a page whose inline scripts are exactly these texts: nothing is loaded.

    Put it into `<meta http-equiv="Content-Security-Policy" content="...">`, and each text between `<script>` and
    `</script>` without a space more or less.
    """
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; img-src data:"


def packed(value: Any) -> str:
    """Return a JSON value compressed, as base64: it can stand in a page whatever text it holds, and no parser reads it.

    A script reads it with `JSON.parse(await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text())`.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
