"""Called by deploy/loadtest/run, which has started a database and says where it is."""

import argparse
import os
import sys
from pathlib import Path

from . import ab, peers, people, rates
from .processes import Yard

SHAPES = ("ramp", "steps", "spike", "soak")
SCENARIOS = (*SHAPES, "rate", "configurations", "scaling", "peers", "memory", "ab")


def parse(arguments: list[str]):
    """The options; which matter to which scenario is in deploy/loadtest/README.md."""
    parser = argparse.ArgumentParser(prog="deploy/loadtest/run", description="A scenario, end to end.")
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--seconds", type=float, help="length: of all for shapes (120), of each rate (8)")
    parser.add_argument("--users", type=int, default=200, help="shapes: at the most")
    parser.add_argument("--crowd", type=float, default=0.0, help="shapes: idle polls each second beside the people")
    parser.add_argument("--steps", type=int, default=5, help="steps: how many")
    parser.add_argument("--p99-ms", type=float, default=20.0, help="what is good enough for polls")
    parser.add_argument("--posts", type=float, default=0.0, help="rates: percent that post a message")
    parser.add_argument("--first", type=float, default=500.0, help="rates: where they begin, each then 1.5 times")
    parser.add_argument("--connections", type=int, default=100, help="rates: kept connections of the generator")
    parser.add_argument("--unit", type=int, default=20, help="configurations, scaling: percent of a core for a vCPU")
    parser.add_argument("--percent", type=int, help="share of a core for the server, else none is set")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a setting of the servers")
    parser.add_argument("--loops", type=int, default=1, help="event loops (WEB_CONCURRENCY)")
    parser.add_argument("--requests", type=int, default=10_000, help="ab: requests of each command")
    parser.add_argument("more", nargs="*", help="shapes: more arguments for locust, after --")
    options = parser.parse_args(arguments)
    if options.seconds is None:
        options.seconds = 120 if options.scenario in SHAPES else 8
    if options.scenario in SHAPES:
        options.seconds = int(options.seconds)
    options.given = " ".join(arguments[1:])
    options.database_pid = int(os.environ["DATABASE_PID"])
    share = f"{options.percent} % of a core" if options.percent else "no limit of CPU"
    options.configuration = (
        f"one instance, {options.loops} event loop(s), {share}; database and generator on the same machine"
    )
    return options


def main() -> int:
    """The scenario's exit code."""
    options = parse(sys.argv[1:])
    out = Path(os.environ["OUT"])
    settings = {"APP_ENV": "development", "LOG_FORMAT": "text", "ADDRESS_ATTEMPTS_MAX": "1000000"}
    settings |= {"BIND_ADDRESS": "127.0.0.1", "SERVICES": "helpdesk", "DB_POOL_SIZE": "10"}
    settings |= dict(one.split("=", 1) for one in options.env)
    with Yard(out, settings) as yard:
        if options.scenario in SHAPES:
            code = people.run(options.scenario, yard, out, options)
        else:
            scenario = {"rate": rates.run, "configurations": rates.configurations, "scaling": rates.scaling}
            scenario |= {"peers": peers.run, "memory": peers.memory, "ab": ab.run}
            code = scenario[options.scenario](yard, out, options)
    print(f"==> {out / 'summary.md'}", flush=True)
    return code


sys.exit(main())
