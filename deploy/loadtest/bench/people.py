"""Scenarios with people: locust with one of its shapes."""

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path

from . import report
from .desk import Desk
from .processes import PROJECT, Yard, pids_of
from .rates import openloop
from .samples import Sampler

STOP_SECONDS_MAX = 60
PERCENTILES = ("50%", "95%", "99%")
# Whose response times are drawn: those of all together have sign-ins and the time until something was told in them.
DRAWN = "/api/messages/updates"
# Length of one run of the generator for the crowd: so often its outcomes are added up, and its connections are new.
CROWD_SECONDS = 30


class Crowd(threading.Thread):
    """Idle polls at a fixed rate beside the people, from as many prepared users as it takes: so a few hundred people that
    one generator can play meet a server that is as busy as thousands would make it."""

    def __init__(self, port: int, requests: Path, options):
        super().__init__(daemon=True)
        self.port, self.requests, self.options = port, requests, options
        self.runs: list[dict] = []
        self.pids: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        """One run after another, until it is over."""
        rate, connections = self.options.crowd, self.options.connections
        while not self.over.is_set():
            self.runs.append(openloop(self.port, rate, CROWD_SECONDS, connections, self.requests, self.pids))

    def stop(self) -> dict:
        """What all runs found together, a row like locust's; the percentiles are the worst run's."""
        self.over.set()
        self.join()
        worst = {name: max(one["ms"][name] for one in self.runs) for name in ("p50", "p95", "p99")}
        return {
            "type": "GET",
            "name": "the crowd's idle polls (worst run's percentiles)",
            "requests": sum(one["requests"] for one in self.runs),
            "failed": sum(one["failed"] for one in self.runs),
            **{f"{name} ms": value for name, value in worst.items()},
            "requests/s": sum(one["good_per_s"] for one in self.runs) / len(self.runs),
        }


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
    """Locust's exit code, or 1 if a request of the crowd failed."""
    prepared = Desk() if options.crowd else None
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
    crowd = Crowd(desk.port, out / "requests.txt", options)
    generator: list[int] = []

    def generators() -> list[int]:
        return [pid for one in generator + crowd.pids for pid in pids_of(one)]

    sampler = Sampler([desk], options.database_pid, generators)
    with (out / "locust.log").open("wb") as log:
        locust = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        generator.append(locust.pid)
        sampler.start()
        if prepared:
            crowd.requests.write_text(prepared.requests(0))
            crowd.start()
        try:
            code = locust.wait(options.seconds + STOP_SECONDS_MAX)
        finally:
            locust.kill()
    samples = sampler.stop()
    told_of_crowd = [crowd.stop()] if prepared else []
    crowd.requests.unlink(missing_ok=True)
    people = history(out / "locust_stats_history.csv", sampler.begun)
    report.write_csv(out / "samples.csv", samples)
    report.write_csv(out / "people.csv", people)
    verdict = json.loads((out / "verdict.json").read_text())
    facts = {
        "scenario": f"{shape}, {options.users} users at the most, {options.seconds} s, all personas of the help desk"
        + (f", beside {options.crowd:g} idle polls/s" if options.crowd else ""),
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
        ] + told_of_crowd
    code = code or int(any(one["failed"] for one in told_of_crowd))
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
