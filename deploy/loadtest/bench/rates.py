"""Scenarios at fixed rates: from well below to past saturation, for one server or several to be compared."""

import json
import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from . import report
from .desk import Desk
from .processes import Quota, Started, Yard
from .samples import Sampler, cpu_seconds, metrics, pids_of

# From one rate to the next.
FACTOR = 1.5
# Less than this share of what was asked for answered well: saturated.
GOOD_SHARE = 0.97
# Past saturation is looked at this many times.
PAST = 2
STEPS_MAX = 24
SPARE_SECONDS_MAX = 60
# An instance that is to be killed dies so long after the load began.
KILL_SECONDS = 1.0


def openloop(port: int, rate: float, seconds: float, connections: int, requests: Path, hold: list[int]) -> dict:
    """One run of the generator; its pid is in `hold` meanwhile."""
    command = [os.environ["OPENLOOP"], f"127.0.0.1:{port}", f"{rate:.0f}", f"{seconds:g}", str(connections)]
    process = subprocess.Popen([*command, str(requests)], stdout=subprocess.PIPE, text=True)
    hold[:] = [process.pid]
    text, _ = process.communicate(timeout=seconds + SPARE_SECONDS_MAX)
    if process.returncode:
        raise SystemExit(f"the generator failed: {' '.join(command)}")
    return json.loads(text)


def statements(servers: list[Started]) -> dict[str, float]:
    """How many SQL statements each of those that are alive has run."""
    alive = [one for one in servers if one.admin and one.process.poll() is None]
    return {one.name: metrics(one.admin)["db_statement_duration_seconds_count"] for one in alive}


def measure(
    name: str, port: int, servers: list[Started], requests: Path, options, first: float, hold: list[int]
) -> list[dict]:
    """A row for each rate, up to past saturation."""
    rows, past, rate = [], 0, first
    openloop(port, first, 1, options.connections, requests, hold)
    while past < PAST and len(rows) < STEPS_MAX:
        pids = [pid for one in servers for pid in pids_of(one.pid)]
        sql = statements(servers)
        before = cpu_seconds(pids), cpu_seconds([options.database_pid]), os.times()
        found = openloop(port, rate, options.seconds, options.connections, requests, hold)
        server, database = cpu_seconds(pids) - before[0], cpu_seconds([options.database_pid]) - before[1]
        after = os.times()
        generator = after.children_user + after.children_system - before[2].children_user - before[2].children_system
        more_sql = sum(count - sql.get(name, 0) for name, count in statements(servers).items())
        took, answered = found["took_s"], max(1, found["requests"] - found["statuses"].get("0", 0))
        rows.append(
            {
                "what": name,
                "asked/s": rate,
                "good/s": found["good_per_s"],
                "failed": found["failed"],
                "p50 ms": found["ms"]["p50"],
                "p95 ms": found["ms"]["p95"],
                "p99 ms": found["ms"]["p99"],
                "p99.9 ms": found["ms"]["p999"],
                "p99 ms, uncorrected": found["ms_uncorrected"]["p99"],
                "server µs": server / answered * 1e6,
                "database µs": database / answered * 1e6,
                "SQL": more_sql / answered if any(one.admin for one in servers) else None,
                "cores server": server / took,
                "cores database": database / took,
                "cores generator": generator / took,
                "load": os.getloadavg()[0],
            }
        )
        row = rows[-1]
        print(
            f"  {name}: asked {rate:.0f}/s, good {row['good/s']:.0f}/s, failed {row['failed']}, "
            f"p50 {row['p50 ms']:.1f} p99 {row['p99 ms']:.1f} ms (uncorrected {row['p99 ms, uncorrected']:.1f}), "
            f"cores {row['cores server']:.2f} + database {row['cores database']:.2f} + "
            f"generator {row['cores generator']:.2f}",
            flush=True,
        )
        past += row["good/s"] < GOOD_SHARE * rate
        rate *= FACTOR
    return rows


def within(rows: list[dict], p99_ms: float) -> dict | None:
    """The highest rate at which all was answered well and in time. One below it may have had a bad moment."""
    well = [row for row in rows if row["good/s"] >= GOOD_SHARE * row["asked/s"] and row["p99 ms"] <= p99_ms]
    return max(well, key=lambda row: row["asked/s"], default=None)


def plot(out: Path, title: str, facts: dict, groups: dict[str, list[dict]], p99_ms: float) -> None:
    """What was answered and how late, over what was asked for."""
    figure = report.Figure(
        f"{title}\n{facts['configuration']}\n{facts['machine']}; {facts['date']}, {facts['commit']}",
        "requests asked for each second",
        3,
    )
    whole = [row["asked/s"] for rows in groups.values() for row in rows]
    good = {name: report.column(rows, "good/s", "asked/s") for name, rows in groups.items()}
    axis = figure.panel("answered well, 1/s", good, marks=True)
    axis.plot([min(whole), max(whole)], [min(whole), max(whole)], color="grey", ls=":", lw=1)
    late = {f"{name}, p99": report.column(rows, "p99 ms", "asked/s") for name, rows in groups.items()}
    if len(groups) == 1:
        rows = next(iter(groups.values()))
        late |= {"p50": report.column(rows, "p50 ms", "asked/s")}
        late |= {"p99 uncorrected: as a closed loop sees it": report.column(rows, "p99 ms, uncorrected", "asked/s")}
    axis = figure.panel("response time, ms\nsince it was due", late, log=True, marks=True)
    axis.axhline(p99_ms, color="grey", ls=":", lw=1)
    if len(groups) == 1:
        rows = next(iter(groups.values()))
        cores = {who: report.column(rows, f"cores {who}", "asked/s") for who in ("server", "database", "generator")}
    else:
        cores = {f"{name}, server": report.column(rows, "cores server", "asked/s") for name, rows in groups.items()}
    figure.panel("cores used", cores, marks=True)
    if max(whole) / min(whole) > 20:
        for axis in figure.axes:
            axis.set_xscale("log")
        figure.axes[-1].xaxis.set_major_formatter("{x:g}")
        figure.axes[0].set_yscale("log")
        figure.axes[0].set_ylim(min(whole) / 2, max(whole))
    figure.save(out / "plot.png")


def write(out: Path, title: str, facts: dict, groups: dict[str, list[dict]], options) -> None:
    """All files of such a scenario."""
    rows = [row for group in groups.values() for row in group]
    best = []
    for name, group in groups.items():
        found = within(group, options.p99_ms)
        peak = max(group, key=lambda row: row["good/s"])
        best.append(
            {
                "what": name,
                f"highest rate with p99 ≤ {options.p99_ms:g} ms, 1/s": found["good/s"] if found else "none",
                "p99 there, ms": found["p99 ms"] if found else "",
                "server µs a request there": found["server µs"] if found else "",
                "database µs a request there": found["database µs"] if found else "",
                "peak, 1/s": peak["good/s"],
                "cores at the peak": peak["cores server"],
                "requests per core at the peak, 1/s": peak["good/s"] / max(peak["cores server"], 0.001),
                "SQL a request at the peak": peak["SQL"] if peak["SQL"] is not None else "not counted",
            }
        )
    report.write_csv(out / "rates.csv", rows)
    report.write_json(out / "result.json", {"facts": facts, "rates": rows, "best": best})
    report.write_summary(out / "summary.md", title, facts, best, "\n" + report.table(rows))
    plot(out, title, facts, groups, options.p99_ms)
    print(report.table(best), flush=True)


def facts_of(scenario: str, what: str, options, configuration: str) -> dict:
    """What the figures depend on."""
    return {
        "scenario": what,
        "configuration": configuration,
        **report.circumstances(),
        "command": f"deploy/loadtest/run {scenario} {options.given}",
    }


def run(yard: Yard, out: Path, options) -> int:
    """One server from well below to past saturation."""
    desk, requests, hold = Desk(), out / "requests.txt", []
    requests.write_text(desk.requests(options.posts / 100))
    server = yard.hyperdesk(loops=options.loops, percent=options.percent)
    sampler = Sampler([server], options.database_pid, lambda: hold)
    sampler.start()
    rows = measure("hyperdesk", server.port, [server], requests, options, options.first, hold)
    report.write_csv(out / "samples.csv", sampler.stop())
    what = f"fixed rates, {options.seconds:g} s each, {options.posts:g} % POST /messages, the rest idle polls"
    facts = facts_of("rate", what, options, options.configuration)
    write(out, "One server at fixed rates (open loop)", facts, {"hyperdesk": rows}, options)
    requests.unlink()
    return 0


@dataclass
class Plan:
    """A deployment: each instance's percent of a core and event loops, and the database's percent."""

    name: str
    instances: list[tuple[int, int]]
    database: int
    # The last instance is killed while the load is on.
    one_dies: bool = False
    # A single instance has a balancer before it, too.
    always_balanced: bool = False


def deployments(plans: list[Plan], title: str, words: str, yard: Yard, out: Path, options) -> int:
    """The same load for each plan, on fresh data."""
    groups, hold = {}, []
    for plan in plans:
        desk, requests = Desk(), out / "requests.txt"
        requests.write_text(desk.requests(options.posts / 100))
        quota = Quota("database", plan.database, [options.database_pid])
        try:
            servers = [
                yard.hyperdesk(f"instance{number}", loops=loops, percent=percent)
                for number, (percent, loops) in enumerate(plan.instances, 1)
            ]
            balanced = len(servers) > 1 or plan.always_balanced
            port = yard.balancer(servers).port if balanced else servers[0].port
            if plan.one_dies:
                threading.Timer(KILL_SECONDS, servers[-1].process.kill).start()
            groups[plan.name] = measure(plan.name, port, servers, requests, options, options.first, hold)
        finally:
            yard.stop()
            quota.remove()
        requests.unlink()
    what = f"fixed rates, {options.seconds:g} s each, {options.posts:g} % POST /messages, the rest idle polls"
    write(out, title, facts_of(options.scenario, what, options, words), groups, options)
    return 0


def configurations(yard: Yard, out: Path, options) -> int:
    """The four deployments, with `--unit` percent of a core for each of a real one's vCPUs."""
    unit = options.unit
    quarters = [(max(1, unit // 4), 1)] * 4
    plans = [
        Plan("1 × 1 vCPU", [(unit, 1)], 2 * unit),
        Plan("1 × 2 vCPU", [(2 * unit, 2)], 2 * unit),
        Plan("4 × 1/4 vCPU", quarters, 2 * unit),
        Plan("4 × 1/4 vCPU, database twice", quarters, 4 * unit),
    ]
    words = f"a vCPU is {unit} % of a core here; the database has 2 vCPUs, in the last 4"
    return deployments(plans, "Four configurations", words, yard, out, options)


def scaling(yard: Yard, out: Path, options) -> int:
    """One, two and three instances behind a balancer, and three of which one is killed under load."""
    unit = options.unit
    database = 8 * unit
    plans = [
        Plan(f"{count} × 1 vCPU", [(unit, 1)] * count, database, always_balanced=True) for count in (1, 2, 3)
    ]
    plans.append(Plan("3 × 1 vCPU, one killed", [(unit, 1)] * 3, database, one_dies=True))
    words = f"a vCPU is {unit} % of a core here; haproxy before all of them; the database has 8 vCPUs"
    return deployments(plans, "One, two and three instances", words, yard, out, options)
