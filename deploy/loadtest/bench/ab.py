"""The date-time triple with Apache's `ab`: a closed loop without keep-alive."""

import re
import subprocess
from pathlib import Path

from . import report
from .processes import Yard
from .samples import Sampler, pids_of

# The paths of the original, and how many at a time: each shape alone, then the two that need no write with more.
COMMANDS = (
    ("/welcome/default/date_time_only", 100),
    ("/welcome/default/date_time", 100),
    ("/welcome/default/latest_date_time", 100),
    ("/welcome/default/date_time_only", 400),
    ("/welcome/default/latest_date_time", 400),
)
PATTERNS = {
    "requests/s": r"Requests per second:\s+([\d.]+)",
    "failed": r"Failed requests:\s+(\d+)",
    "mean ms": r"Time per request:\s+([\d.]+) \[ms\] \(mean\)",
    "p50 ms": r"\s50%\s+(\d+)",
    "p95 ms": r"\s95%\s+(\d+)",
    "p99 ms": r"\s99%\s+(\d+)",
    "max ms": r"100%\s+(\d+)",
}


def run(yard: Yard, out: Path, options) -> int:
    """Five commands, one after the other."""
    more = {"SERVICES": "datetime", "ready": "/date_time_only"}
    server = yard.hyperdesk(loops=options.loops, percent=options.percent, **more)
    rows, hold = [], []
    sampler = Sampler([server], options.database_pid, lambda: [pid for one in hold for pid in pids_of(one)])
    sampler.start()
    for path, concurrency in COMMANDS:
        count = options.requests
        command = ["ab", "-q", "-n", str(count), "-c", str(concurrency), f"http://127.0.0.1:{server.port}{path}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        hold[:] = [process.pid]
        text, _ = process.communicate(timeout=600)
        if process.returncode:
            raise SystemExit(f"ab failed: {text}")
        found = {name: float(re.search(pattern, text)[1]) for name, pattern in PATTERNS.items()}
        refused = re.search(r"Non-2xx responses:\s+(\d+)", text)
        found["failed"] += float(refused[1]) if refused else 0
        rows.append({"command": f"ab -n {count} -c {concurrency} {path}", **found})
        print(f"  {rows[-1]}", flush=True)
    samples = sampler.stop()
    report.write_csv(out / "samples.csv", samples)
    facts = {
        "scenario": "ab, closed loop, no keep-alive",
        "configuration": options.configuration,
        **report.circumstances(),
        "command": f"deploy/loadtest/run ab {options.given}",
    }
    report.write_json(out / "result.json", {"facts": facts, "rows": rows})
    report.write_summary(out / "summary.md", "The date-time triple", facts, rows)
    title = f"ab, date and time: {options.requests} requests each, five commands in turn\n{options.configuration}"
    title += f"\n{facts['machine']}; {facts['date']}, {facts['commit']}"
    figure = report.Figure(title, "seconds since the start", 3)
    figure.panel(
        "per second",
        {"requests": report.column(samples, "requests_per_s")},
        right=("SQL statements per second", {"SQL": report.column(samples, "sql_per_s")}),
    )
    report.plot_machine(figure, samples)
    figure.save(out / "plot.png")
    return 1 if any(row["failed"] for row in rows) else 0
