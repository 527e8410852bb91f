"""Internet scale on paper: what 10,000 to 10,000,000 clients need, by way of asking.

    python3 deploy/loadtest/model.py

Every input below says where it is from: measured (with the command that makes it again), a price or a fact of the
cloud's documents, or an assumption. The measured ones are from a small shared machine (RESULTS.md has its kind), and a
core of it is taken for a vCPU: change them for yours. `check()` compares the model with a measurement at its low end.
"""

from dataclasses import dataclass
from math import ceil

# --------------------------------------------------------------------------------------------- measured on one machine
# One idle poll, server's CPU, a kept connection, at half of the peak: `deploy/loadtest/run peers`, 2026-11-27, 46 µs.
POLL_US = 46.0
# What an instance takes for its ticks and for waking up: at 600 polls/s `deploy/loadtest/run rate --posts 0` saw 0.11
# cores, of which the polls are 0.03.
INSTANCE_CORES = 0.08
# One held poll or stream while nothing happens: benches/RESULTS.md, `cargo bench --bench held`, 18,000 clients.
HELD_US_PER_S = 0.01
HELD_BYTES = 11_900
# The kernel's share of a connection with empty buffers: assumption (slab objects of a TCP socket, epoll, the file).
SOCKET_BYTES = 4_000
# Waking a held poll with news and taking its next question: two answers of the size of a poll with news (1.42 of bare
# hyper against 1.22 idle, benches/RESULTS.md).
NEWS_US = 2 * POLL_US * 1.42 / 1.22
# One POST /messages with its feed row: server's and database's CPU, same run, posts, 503/s, instance's share left out.
POST_SERVER_US = 420.0
POST_DATABASE_US = 1_310.0
# One instance's tailing, database CPU: benches/RESULTS.md, "an instance that tails while others write", of a core.
TAIL_CORES = 0.06
# Writes that one database's disk takes while each commit is flushed: `cargo bench --bench feed`, best 3,332/s with the
# feed on local disk; halved for a disk over the network (assumption).
WRITES_PER_S_MAX = 1_600

# --------------------------------------------------------------------------------------------------------- assumptions
# Of all clients at a time: a client that talks writes one message a minute, and each message concerns two clients.
TALKING = 0.02
MESSAGES_PER_S = 1 / 60
READERS = 2
# Busy at the most so much of an instance, so that the loss of one of several and an uneven balancer do no harm.
BUSY = 0.5
# Of its memory for connections; the rest is the system's, the window's and the pool's.
MEMORY = 0.6
POOL = 10
INSTANCES_MIN = 2
# What a balancer takes for HTTPS: assumption, from the published capacity of its units (25 new, 3,000 active a minute).
ALB_ACTIVE_PER_UNIT = 3_000
ALB_NEW_PER_UNIT = 25
# Clients whose connection is kept by the browser from one 5 s poll to the next.
RECONNECTS_PER_S = 1 / 600


@dataclass(frozen=True)
class Machine:
    """One size that can be rented; prices on demand, US east, a month of 730 h, rounded. Assumption: look them up."""

    name: str
    cores: int
    gigabytes: float
    dollars: float


INSTANCES = (Machine("m7g.medium", 1, 4, 30), Machine("m7g.large", 2, 8, 60), Machine("m7g.4xlarge", 16, 64, 477))
DATABASES = (
    Machine("db.m5.large", 2, 8, 125),
    Machine("db.m5.xlarge", 4, 16, 250),
    Machine("db.m5.4xlarge", 16, 64, 999),
    Machine("db.m5.24xlarge", 96, 384, 5_990),
)
ALB_UNIT_DOLLARS = 5.84
ALB_DOLLARS = 16.4

WAYS = ("5 s polls, three", "5 s polls, one", "held, 50 s", "stream")


@dataclass(frozen=True)
class Load:
    """What so many clients ask of all instances and of the database together."""

    clients: int
    way: str
    requests_per_s: float
    cores: float
    bytes: float
    writes_per_s: float


def load(clients: int, way: str) -> Load:
    """By arithmetic from the inputs above."""
    writes = clients * TALKING * MESSAGES_PER_S
    news = writes * READERS
    micros, connection = writes * POST_SERVER_US, SOCKET_BYTES + HELD_BYTES
    if way.startswith("5 s"):
        polls = clients / 5 * (3 if "three" in way else 1)
        micros += polls * POLL_US
        requests = polls + writes
    else:
        held = way.startswith("held")
        again = clients / 50 if held else 0.0
        micros += clients * HELD_US_PER_S + again * POLL_US + news * (NEWS_US if held else NEWS_US / 2)
        requests = again + writes + (news if held else 0)
    return Load(clients, way, requests, micros / 1e6, clients * connection, writes)


def fleet(need: Load, machine: Machine) -> int:
    """Instances of one size: by CPU and by memory, the larger."""
    by_cpu = need.cores / (machine.cores * BUSY - INSTANCE_CORES)
    by_memory = need.bytes / (machine.gigabytes * 1e9 * MEMORY)
    return max(INSTANCES_MIN, ceil(max(by_cpu, by_memory)))


def database_cores(need: Load, instances: int) -> float:
    """Of the one writer: the writes themselves, and every instance's tailing."""
    return need.writes_per_s * POST_DATABASE_US / 1e6 + instances * TAIL_CORES * min(1.0, need.writes_per_s / 100)


def database_for(cores: float, instances: int) -> Machine | None:
    """The smallest that is busy at the most by half and has the connections; None where the largest is too small."""
    for machine in DATABASES:
        connections = machine.gigabytes * 1e9 / 12_582_880 * 0.9
        if machine.cores * BUSY >= cores and instances * POOL * 2 + 10 <= 0.8 * connections:
            return machine
    return None


def walls(need: Load, instances: int, cores: float) -> str:
    """What gives way first, if anything does."""
    found = []
    if need.writes_per_s > WRITES_PER_S_MAX:
        found.append((WRITES_PER_S_MAX / need.writes_per_s, "the writer's commits"))
    largest = DATABASES[-1]
    if cores > largest.cores * BUSY:
        found.append((largest.cores * BUSY / cores, "the writer's CPU"))
    connections = 0.8 * 0.9 * largest.gigabytes * 1e9 / 12_582_880
    if instances * POOL * 2 + 10 > connections:
        found.append((connections / (instances * POOL * 2), "the writer's connections"))
    return min(found)[1] if found else "none"


def cheapest(need: Load) -> tuple[Machine, int, float, Machine | None]:
    """The size of instance with which all together costs the least."""
    plans = []
    for machine in INSTANCES:
        count = fleet(need, machine)
        cores = database_cores(need, count)
        database = database_for(cores, count)
        cost = count * machine.dollars + 2 * (database or DATABASES[-1]).dollars
        plans.append((database is None, cost, machine, count, cores, database))
    _, _, machine, count, cores, database = min(plans, key=lambda plan: plan[:2])
    return machine, count, cores, database


def balancer_dollars(need: Load) -> float:
    """By its units: connections that are open, or those that are new."""
    units = max(need.clients / ALB_ACTIVE_PER_UNIT, need.clients * RECONNECTS_PER_S / ALB_NEW_PER_UNIT)
    return ALB_DOLLARS + units * ALB_UNIT_DOLLARS


def row(clients: int, way: str) -> str:
    """One line of the table."""
    need = load(clients, way)
    machine, count, cores, database = cheapest(need)
    # Two of the database: the second one stands by.
    dollars = count * machine.dollars + 2 * (database or DATABASES[-1]).dollars + balancer_dollars(need)
    return (
        f"| {clients:,} | {way} | {need.requests_per_s:,.0f} | {need.cores:,.1f} | {need.bytes / 1e9:,.1f} | "
        f"{count:,} × {machine.name} | {need.writes_per_s:,.0f} | {cores:,.1f} | "
        f"{database.name if database else 'none is enough'} | {dollars:,.0f} | {walls(need, count, cores)} |"
    )


def check() -> None:
    """The low end, against a measurement that is no input: 3,015 polls/s took 0.21 cores (results/polls)."""
    clients = 3_015 * 5 // 3
    found = INSTANCE_CORES + clients / 5 * 3 * POLL_US / 1e6
    assert abs(found - 0.21) < 0.05, found


def main() -> None:
    """Prints the table."""
    check()
    print(
        "| clients | way of asking | requests/s | cores | GB of connections | instances | writes/s | database cores | "
        "database (and one standing by) | $ a month, balancer included | first wall |"
    )
    print("|" + "---|" * 11)
    for clients in (10_000, 100_000, 1_000_000, 10_000_000):
        for way in WAYS:
            print(row(clients, way))


if __name__ == "__main__":
    main()
