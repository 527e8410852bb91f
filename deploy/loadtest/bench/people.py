"""Scenarios with people: locust with one of its shapes."""

import csv
import json
import subprocess
import sys
from pathlib import Path

from . import report
from .processes import PROJECT, Yard, pids_of
from .samples import Sampler

STOP_SECONDS_MAX = 60
PERCENTILES = ("50%", "95%", "99%")
# Whose response times are drawn: those of all together have sign-ins and the time until something was told in them.
DRAWN = "/api/messages/updates"


def number(text: str) -> float | None:
    """A cell of locust's, which has N/A where there is nothing."""
    try:
        return float(text)
    except ValueError:
        return None


def history(file: Path, begun: float) -> list[dict]:
    """Locust's own rows, one each second: rates of all together, times of the polls for messages."""
    rows: dict[str, dict] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            row = rows.setdefault(line["Timestamp"], {"t": float(line["Timestamp"]) - begun})
            if line["Name"] == "Aggregated":
                row["users"] = number(line["User Count"])
                row["requests_per_s"] = number(line["Requests/s"])
                row["failures_per_s"] = number(line["Failures/s"])
            elif line["Name"] == DRAWN:
                row |= {f"p{one[:-1]}_ms": number(line[one]) for one in PERCENTILES}
    return list(rows.values())


def run(shape: str, yard: Yard, out: Path, options) -> int:
    """Locust's exit code."""
    desk = yard.hyperdesk(loops=options.loops, percent=options.percent)
    command = [
        *(str(Path(sys.executable).parent / "locust"), "-f", "locustfile.py", "--headless", "--only-summary"),
        *("--host", f"http://127.0.0.1:{desk.port}", "--shape", shape, "--steps", str(options.steps)),
        *("-u", str(options.users), "-r", str(max(1, options.users // 20)), "-t", f"{options.seconds}s"),
        *("--csv", str(out / "locust"), "--csv-full-history", "--verdict", str(out / "verdict.json")),
        *("--max-p99-ms", str(options.p99_ms)),
        *options.more,
    ]
    (out / "command.txt").write_text(" ".join(command) + "\n")
    generator: list[int] = []
    sampler = Sampler([desk], options.database_pid, lambda: [pid for one in generator for pid in pids_of(one)])
    with (out / "locust.log").open("wb") as log:
        locust = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        generator.append(locust.pid)
        sampler.start()
        try:
            code = locust.wait(options.seconds + STOP_SECONDS_MAX)
        finally:
            locust.kill()
    samples = sampler.stop()
    people = history(out / "locust_stats_history.csv", sampler.begun)
    report.write_csv(out / "samples.csv", samples)
    report.write_csv(out / "people.csv", people)
    verdict = json.loads((out / "verdict.json").read_text())
    facts = {
        "scenario": f"{shape}, {options.users} users at the most, {options.seconds} s, all personas of the help desk",
        "configuration": options.configuration,
        **report.circumstances(),
        "command": f"deploy/loadtest/run {shape} {options.given}",
    }
    lines = [{key: value for key, value in one.items() if key != "unit"} for one in verdict["limits"]]
    for line, one in zip(lines, verdict["limits"], strict=True):
        line["unit"] = one["unit"]
    with (out / "locust_stats.csv").open(newline="", encoding="utf-8") as text:
        rows = [
            {
                "type": line["Type"],
                "name": line["Name"],
                "requests": int(line["Request Count"]),
                "failed": int(line["Failure Count"]),
                "p50 ms": number(line["50%"]),
                "p95 ms": number(line["95%"]),
                "p99 ms": number(line["99%"]),
                "requests/s": number(line["Requests/s"]),
            }
            for line in csv.DictReader(text)
        ]
    words = report.table(lines) + f"\n{growth(samples)}\n"
    report.write_summary(out / "summary.md", f"People, {shape}", facts, rows, words)
    report.write_json(out / "result.json", {"facts": facts, "verdict": verdict, "requests": rows, "exit_code": code})
    plot(shape, out, facts, samples, people)
    return code


def growth(samples: list[dict]) -> str:
    """Whether anything grew between the second quarter and the last: what a soak is for."""
    quarter = len(samples) // 4
    if quarter < 2:
        return ""

    def mean(rows, name):
        values = [row[name] for row in rows if name in row]
        return sum(values) / len(values) if values else 0.0

    rows = []
    for name in ("mb_server", "mb_database", "fds_server", "connections", "tasks_threads", "pool_in_use"):
        before, after = mean(samples[quarter : 2 * quarter], name), mean(samples[-quarter:], name)
        rows.append({"mean of": name, "second quarter": before, "last quarter": after})
    return report.table(rows)


def plot(shape: str, out: Path, facts: dict, samples: list[dict], people: list[dict]) -> None:
    """Four panels over time."""
    title = f"{facts['scenario']}\n{facts['configuration']}\n"
    title += f"{facts['machine']}; {facts['date']}, {facts['commit']}"
    figure = report.Figure(title, "seconds since the start", 4)
    figure.panel(
        "per second",
        {"requests": report.column(people, "requests_per_s"), "failures": report.column(people, "failures_per_s")},
        right=("users", {"users": report.column(people, "users")}),
    )
    figure.panel(
        f"ms, last 10 s\n{DRAWN}",
        {one: report.column(people, f"p{one[:-1]}_ms") for one in PERCENTILES},
        log=True,
    )
    report.plot_machine(figure, samples)
    figure.save(out / "plot.png")
