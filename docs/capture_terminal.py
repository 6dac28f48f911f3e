"""Photograph a terminal: run a command in tmux at a given size, and write its screen as a PNG.

    python docs/capture_terminal.py docs/images/terminal-watch-80.png 80x24 --wait 3 -- thinktwice watch runs/backtrack

It needs tmux and Chromium, like the browser tests, and nothing from the network. The command's screen is taken after
`--wait` seconds, whether or not it has ended; then its terminal is closed.
"""

import argparse
import io
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

THEME = TerminalTheme(
    (18, 22, 28), (208, 214, 222),
    [(18, 22, 28), (232, 104, 100), (116, 196, 118), (226, 184, 92), (110, 164, 232), (198, 140, 222), (92, 196, 204),
     (208, 214, 222)],
    [(128, 138, 150), (240, 128, 124), (140, 212, 142), (238, 204, 124), (140, 186, 244), (214, 166, 234),
     (124, 214, 220), (240, 244, 248)],
)  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: {background}; }}
pre {{ margin: 0; padding: 16px 20px; display: inline-block; color: {foreground}; background: {background};
      font: 14px/1.3 "DejaVu Sans Mono", monospace; }}
{stylesheet}</style><pre>{code}</pre>"""


def screen(command: list[str], columns: int, lines: int, wait: float, keys: str = "") -> str:
    """Return what a terminal of that size shows after a while, with its escape sequences."""
    server = ["tmux", "-L", f"capture-{os.getpid()}", "-f", "/dev/null"]
    shell = f"{shlex.join(command)}; sleep 600"
    start = [*server, "new-session", "-d", "-s", "screen", "-x", str(columns), "-y", str(lines), shell]
    try:
        subprocess.run(start, check=True, env={**os.environ, "COLORTERM": "truecolor"})
        time.sleep(wait)
        if keys:
            subprocess.run([*server, "send-keys", "-t", "screen", keys], check=True)
            time.sleep(1)
        capture = [*server, "capture-pane", "-t", "screen", "-p", "-e"]
        return subprocess.run(capture, check=True, capture_output=True, text=True).stdout.rstrip("\n")
    finally:
        subprocess.run([*server, "kill-server"], check=False)


def picture(ansi: str, columns: int, target: Path) -> None:
    """Write terminal output as a PNG."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(ansi), no_wrap=True, overflow="ignore", crop=False)
    page = console.export_html(theme=THEME, code_format=PAGE)
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file, sync_playwright() as playwright:
        file.write(page)
        file.flush()
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 2400, "height": 1600})
        tab.goto(f"file://{file.name}")
        tab.locator("pre").screenshot(path=target)
        browser.close()


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("size", help="columns x lines, such as 80x24")
    parser.add_argument("--wait", type=float, default=3.0, help="seconds until the picture is taken")
    parser.add_argument("--keys", default="", help="keys to press a second before it, as tmux names them")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    columns, lines = map(int, chosen.size.split("x"))
    picture(screen(chosen.command, columns, lines, chosen.wait, chosen.keys), columns, chosen.target)


if __name__ == "__main__":
    main()
