"""Whether an attempt may go on with what an earlier one began. Law: another config or other code is refused."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinktwice.errors import RunError
from thinktwice.run import files
from thinktwice.run.files import read_json, write_json

log = logging.getLogger(__name__)


def check_config(root: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with another config than the run was begun with; name every key that differs."""
    differing = differences(saved, now)
    if differing:
        shown = "; ".join(differing[:4]) + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")
        raise RunError(
            f"{root} belongs to another config: {shown}. Give this one its own directory with name=..., "
            f"or delete {root}"
        )


def check_code(root: Path, state: Mapping[str, Any], patch: str, allowed: bool) -> None:
    """Refuse to go on with other code than the run was begun with, unless that is what was asked for."""
    saved = read_json(root / "code.json")
    before, now = saved["files"], state["files"]
    if before == now:
        return
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    if not allowed:
        commit = f" (or check out {saved['commit'][:12]})" if saved.get("commit") else ""
        raise RunError(
            f"the code has changed since {root} was begun: {shown}. Start again with name=...{commit}, "
            "or go on and accept a mixed result with --allow-code-change"
        )
    log.warning("going on with changed code, as asked: %s", shown)
    for name in ("code.json", "code.patch"):
        files.aside(root / name, "before")
    files.write_text(root / "code.patch", patch)
    write_json(root / "code.json", state)


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """Name every key whose value differs, as `key: before -> now`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found: list[str] = []
        for name in sorted(before.keys() | now.keys()):
            inner = f"{key}.{name}" if key else name
            if name not in before or name not in now:
                was, new = before.get(name, "(none)"), now.get(name, "(none)")
                found.append(f"{inner}: {_short(was)} -> {_short(new)}")
            else:
                found += differences(before[name], now[name], inner)
        return found
    return [] if before == now else [f"{key}: {_short(before)} -> {_short(now)}"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
