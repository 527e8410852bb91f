"""What is looked at while a scenario runs, once a second."""

import os
import re
import threading
import time
from collections import defaultdict
from pathlib import Path

from .processes import Started, http_get, pids_of

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SERIES = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? ([0-9.e+-]+)$", re.MULTILINE)
PROGRESS_SECONDS = 5


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of some processes."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mb(pids: list[int]) -> float:
    """Resident memory of some processes."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total * PAGE / 1e6


def descriptors(pids: list[int]) -> int:
    """Open files and sockets of some processes."""
    count = 0
    for pid in pids:
        try:
            count += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return count


def metrics(port: int) -> dict[str, float]:
    """/metrics, summed over labels but for the state of the pool."""
    sums: dict[str, float] = defaultdict(float)
    for name, labels, value in SERIES.findall(http_get(port, "/metrics") or ""):
        state = re.search(r'state="(\w+)"', labels) if name == "db_pool_connections" else None
        sums[f"{name}_{state[1]}" if state else name] += float(value)
    return sums


class Sampler(threading.Thread):
    """Rows of a table, one each second, from `start` to `stop`."""

    def __init__(self, servers: list[Started], database: int, generator=lambda: []):
        super().__init__(daemon=True)
        self.servers, self.database, self.generator = servers, database, generator
        self.rows: list[dict[str, float]] = []
        self.over = threading.Event()
        self.begun = time.time()
        self.failure: Exception | None = None

    def look(self) -> dict[str, float]:
        """Counters and gauges as they are now."""
        servers = [pid for one in self.servers for pid in pids_of(one.pid)]
        found = {
            "at": time.time(),
            "cpu_server": cpu_seconds(servers),
            "cpu_database": cpu_seconds([self.database]),
            "cpu_generator": cpu_seconds(self.generator()),
            "mb_server": resident_mb(servers),
            "mb_database": resident_mb([self.database]),
            "fds_server": descriptors(servers),
            "load_1m": os.getloadavg()[0],
        }
        for one in self.servers:
            if not one.admin:
                continue
            seen = metrics(one.admin)
            for name, series in (
                ("requests", "http_requests_total"),
                ("sql", "db_statement_duration_seconds_count"),
                ("pool_wait_s", "db_pool_wait_seconds_sum"),
                ("shed", "requests_shed_total"),
                ("pool_waiting", "db_pool_connections_waiting"),
                ("connections", "http_connections"),
                ("tasks_threads", "process_threads"),
                ("feed_waiters", "feed_waiters"),
                ("feed_events", "feed_window_events"),
                ("feed_outbox", "feed_outbox"),
            ):
                found[name] = found.get(name, 0) + seen[series]
            in_use = seen["db_pool_connections_open"] - seen["db_pool_connections_idle"]
            found["pool_in_use"] = found.get("pool_in_use", 0) + in_use
        return found

    def run(self) -> None:
        """Samples until it is over, or cannot."""
        try:
            self.sample()
        except Exception as failure:  # noqa: BLE001  (the run must not pass without the rest)
            self.failure = failure

    def sample(self) -> None:
        """One row a second: counters as rates, gauges as they are."""
        before = self.look()
        while not self.over.wait(1):
            now = self.look()
            passed = now["at"] - before["at"]
            row = {"t": round(now["at"] - self.begun, 1)}
            for name, value in now.items():
                if name.startswith("cpu_"):
                    # A process that ended takes its time with it.
                    row[name] = round(max(0.0, value - before[name]) / passed, 3)
                elif name in ("requests", "sql", "shed", "pool_wait_s"):
                    row[f"{name}_per_s"] = round((value - before.get(name, 0)) / passed, 2)
                elif name != "at":
                    row[name] = round(value, 1)
            self.rows.append(row)
            before = now
            if len(self.rows) % PROGRESS_SECONDS == 0:
                self.progress(row)

    def progress(self, row: dict[str, float]) -> None:
        """One line for whoever waits."""
        print(
            f"  {row['t']:6.0f} s  {row.get('requests_per_s', 0):8.0f} requests/s  "
            f"cores: server {row['cpu_server']:.2f} database {row['cpu_database']:.2f} "
            f"generator {row['cpu_generator']:.2f}  {row['mb_server']:.0f} MB  "
            f"{row.get('sql_per_s', 0):.0f} SQL/s  pool {row.get('pool_in_use', 0):.0f} used "
            f"{row.get('pool_waiting', 0):.0f} waiting  feed {row.get('feed_events', 0):.0f} changes "
            f"{row.get('feed_waiters', 0):.0f} held",
            flush=True,
        )

    def stop(self) -> list[dict[str, float]]:
        """The rows. A run of which some are missing says nothing of growth, so it is no result."""
        self.over.set()
        self.join()
        if self.failure:
            raise SystemExit(f"no samples after {len(self.rows)} s: {self.failure!r}")
        return self.rows
