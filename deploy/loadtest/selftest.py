"""The load test, tested: with a good server it is content, and with each fault of faulty.py it says which.

    python deploy/loadtest/selftest.py PORT [FAULT...]

PORT is the help desk's on this machine; `locust` is the one beside this Python. All faults at the same time; about
half a minute. Ends with 1 if the load test was wrong about any.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from faulty import FAULTS, LATE_SECONDS, Proxy

PROJECT = Path(__file__).resolve().parents[2]
PEOPLE = ["Asker", "Expert", "TabsUser"]
USERS = 6
SECONDS = 14
# With so short a pause a hundred requests are there in seconds, and each asker writes some messages.
ARGUMENTS = ["--poll-seconds", "0.3", "--hold-seconds", "5"]
# What the verdict must name; None where it must be content.
SAID = {
    "none": None,
    "lose": "missed",
    "twice": "told twice",
    "alter": "another text",
    "fail": "500 instead of",
    "late": "p99 of polls",
}


async def judge(port: int, fault: str, folder: Path) -> str | None:
    """Runs locust against the fault; what is wrong with its verdict."""
    proxy, verdict, log = Proxy(port, fault), folder / f"{fault}.json", folder / f"{fault}.log"
    host = f"http://127.0.0.1:{await proxy.start()}"
    limits = ["--max-p99-ms", str(int(LATE_SECONDS * 900))] if fault == "late" else []
    with log.open("wb") as output:
        locust = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "locust"),
            *("-f", "locustfile.py", "--headless", "--only-summary", "--host", host),
            *("-u", str(USERS), "-r", "1", "-t", f"{SECONDS}s", "--verdict", str(verdict)),
            *(*ARGUMENTS, *limits, *PEOPLE),
            cwd=PROJECT,
            stdout=output,
            stderr=output,
        )
        code = await locust.wait()
    proxy.server.close()
    if not verdict.exists():
        return f"no verdict:\n{log.read_text()[-2000:]}"
    found = json.loads(verdict.read_text())
    told = sum(way["told"] for way in found["told"].values())
    said = [limit["limit"] for limit in found["limits"] if not limit["holds"]]
    said += [failure["error"] for failure in found["failures"]]
    print(
        f"{fault}: {proxy.count} faults, {told} messages told, exit code {code}, said {said or 'nothing'}", flush=True
    )
    wanted = SAID[fault]
    if told == 0 and fault != "late":
        return "nobody was told anything"
    if wanted is None:
        return None if code == 0 and not said else f"it finds fault where there is none: {said}"
    if proxy.count == 0:
        return "the fault was never there"
    if code == 0:
        return "it is content"
    return None if any(wanted in one for one in said) else f"it does not say {wanted!r}"


async def main() -> None:
    """Ends the process."""
    port, faults = int(sys.argv[1]), sys.argv[2:] or list(FAULTS)
    with tempfile.TemporaryDirectory() as folder:
        wrongs = await asyncio.gather(*(judge(port, fault, Path(folder)) for fault in faults))
    wrong = {fault: one for fault, one in zip(faults, wrongs, strict=True) if one}
    for fault, one in wrong.items():
        print(f"wrong about {fault}: {one}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


asyncio.run(main())
