"""A run's status, laid out for a terminal of any size. Law: nothing is said by colour alone."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from thinktwice.report.claims import points
from thinktwice.show import printable
from thinktwice.status import StageStatus, Standing, Status

KINDS = ("collect", "train", "calibrate", "solve")
"""The columns, in the order an arm's stages are done; other kinds follow as the plan has them."""
WIDEST = 100
"""Columns a wide terminal's view takes: a line that is longer is hard to follow."""
CELL = 12
"""Columns of a cell: room for "✓ 9 min 59 s", so that nothing moves when a stage is done."""
ALONE = {"base": "base model"}
"""What the stages that belong to no arm are called, where their name would be taken for an arm's."""
AXIS = 25
"""Columns on each side of zero in the drawing of an interval."""
SETTLED = {"running": "bold cyan", "finished": "bold green", "stopped": "bold red"}


def view(status: Status, width: int, height: int = 1000) -> RenderableType:
    """Lay a status out: what is done, what is being done, how long it will take, and how the comparison stands.

    Args:
        status: what is shown.
        width: columns of the terminal.
        height: its lines; arms are left out, and said to be, before anything else is.
    """
    width = min(width, WIDEST)
    top = [_title(status, width), Text()]
    of_arms = [stage for stage in status.stages if "-" in stage.name]
    bottom: list[RenderableType] = [_alone(status)]
    if status.state == "running":
        bottom += [Text(), _running(status, width), _note(status)]
    if status.comparison is not None:
        bottom += [Text(), *standing_lines(status.comparison)]
    if status.state == "stopped":
        bottom += [Text(), Text(printable(f"stopped: {status.why}").replace("\n", " "), style="red")]
    room = height - len(top) - len(bottom) - 2  # the columns' names, and the line the cursor stands in
    arms = _matrix(of_arms, status, width, room) if of_arms and room > 0 else []
    return Group(*top, *arms, *bottom)


def duration(seconds: float) -> str:
    """Return a length of time in words: "4 s", "1 min 05 s", "2 h 03 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def roughly(seconds: float) -> str:
    """Return a guessed length of time, no finer than the guess: it does not flicker while it is counted down."""
    for upto, grain in ((10, 1), (60, 5), (600, 10), (3600, 60), (float("inf"), 300)):
        if seconds < upto:
            return duration(max(grain, round(seconds / grain) * grain))
    return duration(seconds)


def standing_sentence(standing: Standing) -> str:
    """Return the comparison so far on one line."""
    low, high = (points(end) for end in standing.ci)
    return (
        f"{standing.a} − {standing.b} at level {standing.level}: {points(standing.difference)} [{low}, {high}] "
        f"on {standing.n} of {standing.of} problems both have answered"
    )


def standing_lines(standing: Standing) -> list[Text]:
    """Return the comparison on three lines: the difference with its interval, drawn, and what it is made from."""
    low, high = (points(end) for end in standing.ci)
    first = Text(f"{standing.a} − {standing.b} at level {standing.level}: ", no_wrap=True, overflow="ellipsis")
    first.append(f"{points(standing.difference)} points [{low}, {high}]", style="bold")
    so_far, answered = (" so far", f"{standing.n} of {standing.of}") if standing.n < standing.of else ("", standing.n)
    said = f"95 % interval{so_far}, on {answered} problems both have answered"
    return [first, _drawn(standing), Text(said, style="bright_black", no_wrap=True, overflow="ellipsis")]


def _drawn(standing: Standing) -> Text:
    """Draw the difference and its interval on a line with a mark at zero: " −20 ┄┄┄┄│┄├──●──┤┄ +20"."""
    most = 100 * max(abs(end) for end in (*standing.ci, standing.difference))
    limit = next((edge for edge in (5, 10, 20, 50) if most <= edge), 100)

    def place(difference: float) -> int:
        return round(AXIS * (1 + min(1.0, max(-1.0, 100 * difference / limit))))

    low, at, high = (place(value) for value in (standing.ci[0], standing.difference, standing.ci[1]))
    marks = ["┄"] * (2 * AXIS + 1)
    marks[AXIS] = "│"
    marks[low : high + 1] = "─" * (high + 1 - low)
    if low <= AXIS <= high:
        marks[AXIS] = "┼"
    marks[low], marks[high], marks[at] = "├", "┤", "●"
    line = Text("".join(marks))
    tone = "bold green" if standing.ci[0] > 0 else "bold red" if standing.ci[1] < 0 else "bold"
    for start, end, style in ((0, low, "bright_black"), (low, high + 1, tone), (high + 1, len(marks), "bright_black")):
        line.stylize(style, start, end)
    return Text.assemble((f"−{limit} ", "bright_black"), line, (f" +{limit}", "bright_black"), no_wrap=True)


def _title(status: Status, width: int) -> Text:
    parts = [status.state, duration(status.seconds)]
    if status.state == "running":
        parts.append(f"about {roughly(status.eta_s)} left" if status.eta_s is not None else "time left not known yet")
    right = Text(" · ".join(parts))
    right.stylize(SETTLED[status.state], 0, len(status.state))
    name = Text(printable(status.name), style="bold")
    name.truncate(max(8, width - len(right) - 2), overflow="ellipsis")
    return Text.assemble(name, " " * max(2, width - name.cell_len - len(right)), right, no_wrap=True)


def _alone(status: Status) -> Text:
    """Return the stages that belong to no arm, on one line."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for stage in status.stages:
        if "-" not in stage.name:
            line.append("   " if line else "")
            line.append(f"{ALONE.get(stage.name, stage.name)} ", style="bright_black")
            line.append_text(_cell(stage, status))
    return line


def _matrix(stages: Sequence[StageStatus], status: Status, width: int, room: int) -> list[RenderableType]:
    """Return a row for each arm and a column for each kind of stage, at most `room` rows around the one at work."""
    cells = {(stage.name.split("-", 1)[0], stage.name.split("-", 1)[1]): stage for stage in stages}
    kinds = sorted({kind for kind, _ in cells}, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))
    arms = list(dict.fromkeys(arm for _, arm in cells))
    at = next((arms.index(stage.name.split("-", 1)[1]) for stage in stages if stage.state != "done"), 0)
    shown, said = arms, False
    if len(arms) > room:
        said = room > 1
        room -= said
        start = min(max(0, at - room // 2), len(arms) - room)
        shown = arms[start : start + room]
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    names = max(8, width - len(kinds) * (CELL + 2) - 2)
    table.add_column("", no_wrap=True, max_width=names, overflow="ellipsis")
    for kind in kinds:
        table.add_column(kind, no_wrap=True, min_width=CELL)
    for arm in shown:
        table.add_row(arm, *[_cell(cells.get((kind, arm)), status) for kind in kinds])
    hidden = len(arms) - len(shown)
    return [table, Text(f"and {hidden} arms more", style="bright_black")] if said else [table]


def _cell(stage: StageStatus | None, status: Status) -> Text:
    if stage is None:
        return Text()
    if stage.state == "done":
        took = Text(f" {duration(stage.seconds)}", style="bright_black") if stage.seconds else Text()
        return Text.assemble(("✓", "green"), took)
    if stage.state == "running":
        return Text(f"▸ {_percent(stage.share)}" if stage.share else "▸ …", style="bold cyan")
    if status.state == "stopped" and (stage.share or stage.seconds):
        return Text(f"✗ {_percent(stage.share)}" if stage.share else "✗", style="red")
    return Text("·", style="bright_black")


def _running(status: Status, width: int) -> RenderableType:
    """Return the bar of the stage at work, and its times, in columns that stay where they are.

    Between two stages it is the next one's, so that nothing below it moves.
    """
    stage = status.current or next((each for each in status.stages if each.state == "waiting"), None)
    if stage is None:
        return Text()
    label = Text(_spoken(stage), style="bold")
    label.truncate(max(12, width - 50), overflow="ellipsis")
    names = min(max(len(_spoken(each)) for each in status.stages), max(12, width - 50))
    left = "" if stage.eta_s is None else f" · {roughly(stage.eta_s)} left"
    times = f"{duration(stage.seconds)}{left}" if stage.state == "running" else ""
    room = 22 if len(times) <= 22 else 30
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=names, no_wrap=True)
    grid.add_row(
        label,
        ProgressBar(
            1.0, stage.share, width=max(8, width - names - room - 11), complete_style="cyan", finished_style="cyan"
        ),
        Text(_percent(stage.share).rjust(5) if stage.share else " " * 5),
        Text(times.rjust(room)),
    )
    return grid


def _spoken(stage: StageStatus) -> str:
    return ALONE.get(stage.name, stage.name.replace("-", " ", 1))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _note(status: Status) -> Text:
    stage = status.current
    parts = [printable(stage.note).replace("\n", " ")] if stage is not None and stage.note else []
    if status.tokens_per_second is not None:
        parts.append(f"{status.tokens_per_second:,.0f} tokens/s")
    return Text(" · ".join(parts), style="bright_black", no_wrap=True, overflow="ellipsis")
