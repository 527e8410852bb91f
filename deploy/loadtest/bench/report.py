"""What is written of a run: CSV, JSON, a table and plots."""

import csv
import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  (after the choice of a backend that needs no screen)

from .processes import PROJECT  # noqa: E402

DPI = 80
WIDTH, PANEL_HEIGHT = 10, 2.4
# Told apart in print and by the colour-blind, too (Okabe and Ito).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "osD^vP*"


def git(*arguments: str) -> str:
    """What git says, or nothing outside of a repository."""
    found = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def circumstances() -> dict[str, str]:
    """Machine, date and commit: without them a figure says nothing."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    changed = " and changes" if git("status", "--porcelain", "src", "sql", "Cargo.toml") else ""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": (git("rev-parse", "--short", "HEAD") or "unknown") + changed,
        "machine": f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "load before": " ".join(f"{one:.1f}" for one in os.getloadavg()),
        "server": os.environ.get("SERVER_VERSION", "unknown"),
        "database": os.environ.get("DATABASE_VERSION", "unknown"),
    }


def write_csv(file: Path, rows: list[dict]) -> None:
    """A column for each name that any row has."""
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(rows)


def write_json(file: Path, value) -> None:
    """Indented, so that two runs can be compared line by line."""
    file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def table(rows: list[dict]) -> str:
    """Markdown."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(shown(row.get(name, "")) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(value) -> str:
    """Three digits say as much as such a figure can."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_summary(file: Path, title: str, facts: dict, rows: list[dict], words: str = "") -> None:
    """The table with all that it depends on."""
    facts = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    file.write_text(f"# {title}\n\n{facts}\n\n{table(rows)}\n{words}", encoding="utf-8")


class Figure:
    """Panels above each other with one x axis."""

    def __init__(self, title: str, x: str, panels: int):
        self.figure, axes = pyplot.subplots(
            panels, 1, sharex=True, figsize=(WIDTH, 1 + PANEL_HEIGHT * panels), squeeze=False
        )
        self.axes = [row[0] for row in axes]
        self.figure.suptitle(title, fontsize=10)
        self.axes[-1].set_xlabel(x)
        self.next = 0

    def panel(self, y: str, lines: dict[str, tuple[list, list]], *, log=False, marks=False, right=None):
        """Lines by their names; `right` is (label, lines) for a second y axis."""
        axis = self.axes[self.next]
        self.next += 1
        axis.set_ylabel(y)
        axis.grid(alpha=0.3)
        for number, (name, (xs, ys)) in enumerate(lines.items()):
            marker = MARKERS[number % len(MARKERS)] if marks else None
            axis.plot(xs, ys, label=name, color=COLOURS[number % len(COLOURS)], marker=marker, lw=1.4, ms=4)
        if log:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
        else:
            axis.set_ylim(bottom=0)
        handles, names = axis.get_legend_handles_labels()
        if right:
            other = axis.twinx()
            other.set_ylabel(right[0])
            for number, (name, (xs, ys)) in enumerate(right[1].items()):
                colour = COLOURS[(len(lines) + number) % len(COLOURS)]
                other.plot(xs, ys, label=name, color=colour, ls="--", lw=1.4)
            other.set_ylim(bottom=0)
            more = other.get_legend_handles_labels()
            handles, names = handles + more[0], names + more[1]
        axis.legend(handles, names, fontsize=8, loc="best", framealpha=0.7)
        return axis

    def save(self, file: Path) -> None:
        """As PNG."""
        self.figure.tight_layout()
        self.figure.savefig(file, dpi=DPI)
        pyplot.close(self.figure)


def column(rows: list[dict], name: str, x: str = "t") -> tuple[list, list]:
    """Two lists for a line, of those rows that have both."""
    points = [(row[x], row[name]) for row in rows if name in row and row[name] is not None]
    return [x for x, _ in points], [y for _, y in points]


def plot_machine(figure: Figure, rows: list[dict]) -> None:
    """CPU and memory, two panels."""
    figure.panel(
        "cores used",
        {who: column(rows, f"cpu_{who}") for who in ("server", "database", "generator")},
    )
    figure.panel(
        "resident MB",
        {"server": column(rows, "mb_server"), "database": column(rows, "mb_database")},
        right=("open descriptors", {"server's descriptors": column(rows, "fds_server")}),
    )
