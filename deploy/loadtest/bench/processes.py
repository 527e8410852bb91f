"""What is started, each process of its own kind, and what share of the machine it may have."""

import os
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
# Short, so that being out of turn does not look like an answer that took long.
PERIOD_US = 10_000
# The least that the kernel takes for a quota.
QUOTA_US_MIN = 1_000
PROJECT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http_get(port: int, path: str, seconds: float = 2.0) -> str | None:
    """The body of a 200, or None."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
            return answer.read().decode()
    except OSError:
        return None


class Quota:
    """A share of the processors for some processes, in percent of one core, by a control group of the kernel's."""

    def __init__(self, name: str, percent: int, pids: list[int]):
        period = max(PERIOD_US, QUOTA_US_MIN * 100 // percent)
        quota, name = period * percent // 100, f"hyperdesk-loadtest-{os.getpid()}-{name}"
        two, one = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")
        controllers = two / "cgroup.controllers"
        if controllers.exists() and "cpu" in controllers.read_text():
            settings = {"cpu.max": f"{quota} {period}", "cpu.weight": "10000"}
            (two / "cgroup.subtree_control").write_text("+cpu")
            self.group = two / name
        else:
            # The weight: it gets its share also where others want the core.
            settings = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota, "cpu.shares": 102_400}
            self.group = one / name
        self.group.mkdir()
        for setting, value in settings.items():
            (self.group / setting).write_text(str(value))
        for pid in pids:
            (self.group / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Once its processes have ended, or were moved to where they came from."""
        pids = (self.group / "cgroup.procs").read_text().split()
        for pid in pids:
            (self.group.parent / "cgroup.procs").write_text(pid)
        self.group.rmdir()


@dataclass
class Started:
    """A process that was started, and where it listens."""

    name: str
    port: int
    process: subprocess.Popen
    # Where /metrics is, for those that have it.
    admin: int | None = None
    quota: Quota | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Ends it, within a time."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.quota:
            self.quota.remove()


@dataclass
class Yard:
    """All that runs; stopped when the `with` ends."""

    out: Path
    settings: dict[str, str]
    running: list[Started] = field(default_factory=list)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self) -> None:
        """Stops all, the last first."""
        while self.running:
            self.running.pop().stop()

    def start(self, name, command, port, *, admin=None, percent=None, ready="/health", **settings) -> Started:
        """Starts one and waits until it answers. The kernel ends it when this process is gone."""
        environment = {**os.environ, **self.settings, **{key: str(value) for key, value in settings.items()}}
        log = (self.out / f"{name}.log").open("ab")
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            env=environment,
            cwd=PROJECT,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        started = Started(name, port, process, admin)
        self.running.append(started)
        until = time.monotonic() + READY_SECONDS_MAX
        while http_get(port, ready) is None:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{name} does not serve: see {self.out / (name + '.log')}")
            time.sleep(0.1)
        # From now on: starting is not what is measured.
        if percent:
            started.quota = Quota(name, percent, pids_of(process.pid))
        return started

    def hyperdesk(self, name="hyperdesk", loops=1, **more) -> Started:
        """One instance."""
        port, admin = free_port(), free_port()
        command = [os.environ["HYPERDESK"], "serve"]
        own = {"PORT": port, "METRICS_PORT": admin, "WEB_CONCURRENCY": loops}
        return self.start(name, command, port, admin=admin, **own, **more)

    def balancer(self, instances: list[Started]) -> Started:
        """deploy/haproxy/haproxy.cfg for these instances, without TLS."""
        port, lines = free_port(), []
        for line in (PROJECT / "deploy/haproxy/haproxy.cfg").read_text().splitlines():
            words = [*line.split(), "", ""]
            if words[0] == "server" and words[1] != "desk1":
                continue
            if words[0] == "log" or words[1] == "httplog" or words[:2] == ["bind", ":443"]:
                continue
            if "redirect scheme https" in line or "ssl-default" in line:
                continue
            if words[0] == "server":
                for number, one in enumerate(instances, 1):
                    lines.append(f"  server desk{number} 127.0.0.1:{one.port} port {one.admin}")
            elif words[:2] == ["bind", ":80"]:
                lines.append(f"  bind 127.0.0.1:{port}")
            elif words[0] == "maxconn":
                lines.append("  maxconn 4000")
            else:
                lines.append(line.replace("check port 9464", "check"))
        configuration = self.out / "haproxy.cfg"
        configuration.write_text("\n".join(lines) + "\n")
        return self.start("haproxy", ["haproxy", "-db", "-f", str(configuration)], port)


def pids_of(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                # The thread has just ended.
                continue
    return found
