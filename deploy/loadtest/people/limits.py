"""The arguments that locust has not, and the verdict at the end, which sets the exit code."""

import argparse
import json
import sys
from collections import Counter

from locust import events
from locust.runners import WorkerRunner
from locust.stats import calculate_response_time_percentile

from .desk import QUESTIONS
from .shapes import SHAPES, Shape

HELP_DESK = ["NewUser", "IdleUser", "ActiveUser", "Asker", "Expert", "TabsUser"]
# What a peer may lack, and the classes that cannot be without.
NEEDED_BY = {
    "cursor": {"TabsUser"},
    "stream": {"TabsUser"},
    "accounts": {"NewUser", "IdleUser", "ActiveUser", "Asker", "Expert", "TabsUser", "BookBrowser", "BookBuyer"},
    "queue": {"ActiveUser", "Expert"},
}
# Longer than who leaves takes to look a last time (desk.LAST_LOOK_SECONDS_MAX, twice for tabs).
STOP_SECONDS = 20


def share(text: str) -> float:
    """A percentage."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("a percentage is 0 to 100")
    return value


@events.init_command_line_parser.add_listener
def _arguments(parser):
    """Locust runs every class of a file unless told otherwise; here "otherwise" is the default.

    As the default of locust's own argument, so that naming classes, LOCUST_USER_CLASSES and the class
    picker work as they always do.
    """
    if not parser.get_default("user_classes"):
        parser.set_defaults(user_classes=HELP_DESK)
    parser.set_defaults(stop_timeout=STOP_SECONDS)
    group = parser.add_argument_group("hyperdesk", "what comes when, and what is good enough")
    group.add_argument(
        "--shape", choices=["none", *SHAPES], default="none", help="how many users when; needs --run-time"
    )
    group.add_argument("--steps", type=int, default=5, help="steps of the shape of that name")
    group.add_argument("--lacks", default="", help=f"what the server has not, comma-separated: {', '.join(NEEDED_BY)}")
    group.add_argument("--poll-seconds", type=float, default=5.0, help="from one poll to the next")
    group.add_argument("--hold-seconds", type=int, default=20, help="how long a held poll may wait")
    group.add_argument(
        "--fresh-seconds", type=float, default=2.0, help="a poll asked so long after a POST must have it"
    )
    group.add_argument("--max-failed-percent", type=share, default=0.0, help="of all requests and checks")
    group.add_argument("--max-p99-ms", type=float, help="99th percentile of the three polls")
    group.add_argument("--max-told-ms", type=float, help="99th percentile until a stream shows a message")
    group.add_argument("--min-requests-per-s", type=float, help="less means that the load was not there")
    group.add_argument("--verdict", default="", help="file for the verdict as JSON")


@events.init.add_listener
def _shape(environment, **_):
    """Takes the shape that was asked for, and leaves out the people that the server cannot serve."""
    options = environment.parsed_options
    lacks = {one for one in options.lacks.split(",") if one}
    if unknown := lacks - NEEDED_BY.keys():
        sys.exit(f"--lacks knows {', '.join(NEEDED_BY)}, not {', '.join(sorted(unknown))}")
    left_out = set().union(*(NEEDED_BY[one] for one in lacks))
    kept = [one for one in environment.user_classes if one.__name__ not in left_out]
    if not kept:
        sys.exit("nobody is left who could use a server that lacks so much")
    environment.user_classes = kept
    if options.shape == "none" or isinstance(environment.runner, WorkerRunner):
        return
    if not options.run_time:
        sys.exit("--shape needs --run-time")
    environment.shape_class = Shape(options)
    environment.shape_class.runner = environment.runner


def percentile(entries: list, share_of_one: float) -> float | None:
    """Of several lines of the table together."""
    times: Counter[int] = Counter()
    for entry in entries:
        times.update(entry.response_times)
    count = sum(times.values())
    return calculate_response_time_percentile(times, count, share_of_one) if count else None


def judged(environment) -> list[dict]:
    """A line for each limit."""
    options, stats = environment.parsed_options, environment.stats
    lines = []

    def line(limit, wanted, found, unit, holds):
        lines.append({"limit": limit, "wanted": wanted, "found": found, "unit": unit, "holds": bool(holds)})

    total = stats.total
    failed = 100 * total.num_failures / total.num_requests if total.num_requests else 100.0
    line("failed", options.max_failed_percent, round(failed, 4), "%", failed <= options.max_failed_percent)
    unhandled = len(environment.runner.exceptions)
    line("exceptions in the load test", 0, unhandled, "", unhandled == 0)
    polls = [entry for (name, _), entry in stats.entries.items() if name in {path for path, _ in QUESTIONS}]
    if options.max_p99_ms is not None:
        found = percentile(polls, 0.99)
        line("p99 of polls", options.max_p99_ms, found, "ms", found is not None and found <= options.max_p99_ms)
    if options.max_told_ms is not None:
        told = [entry for key, entry in stats.entries.items() if key == ("stream", "TOLD")]
        found = percentile(told, 0.99)
        line("p99 to a stream", options.max_told_ms, found, "ms", found is not None and found <= options.max_told_ms)
    if options.min_requests_per_s is not None:
        found = round(total.total_rps, 1)
        line("requests", options.min_requests_per_s, found, "/s", found >= options.min_requests_per_s)
    return lines


@events.quitting.add_listener
def _verdict(environment, **_):
    """Prints what held and what did not. Workers leave that to their master."""
    if isinstance(environment.runner, WorkerRunner) or environment.runner is None:
        return
    lines = judged(environment)
    print("\n| limit | wanted | found | |\n|---|---|---|---|")
    for one in lines:
        end = "holds" if one["holds"] else "DOES NOT HOLD"
        print(f"| {one['limit']} | {one['wanted']} {one['unit']} | {one['found']} {one['unit']} | {end} |")
    holds = all(one["holds"] for one in lines)
    environment.process_exit_code = 0 if holds else environment.parsed_options.exit_code_on_error
    if environment.parsed_options.verdict:
        told = {
            name: {"told": entry.num_requests - entry.num_failures, "failed": entry.num_failures}
            for (name, kind), entry in environment.stats.entries.items()
            if kind == "TOLD"
        }
        failures = [
            {"method": error.method, "name": error.name, "error": str(error.error), "occurrences": error.occurrences}
            for error in environment.stats.errors.values()
        ]
        with open(environment.parsed_options.verdict, "w", encoding="utf-8") as file:
            json.dump({"holds": holds, "limits": lines, "told": told, "failures": failures}, file, indent=1)
            file.write("\n")
