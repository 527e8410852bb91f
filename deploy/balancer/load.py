"""Load at a fixed rate on a balancer, while instances behind it are killed, frozen and rolled.

Started by deploy/balancer/try, which says over standard input when a trouble begins ("NAME") and when it is over
("end"); prints a line of the table for each.

A request belongs to the moment it was due, whatever became of it, so that a stall is not hidden by the requests that
it kept from being sent. Beside the load, held polls and streams follow everything that is posted: at the end each must
have seen every message whose POST was answered, and the database must hold none twice.
"""

import asyncio
import collections
import json
import sys
import time
from urllib.parse import quote, urlencode

RATE = 60
CLIENTS = 24
REQUEST_SECONDS_MAX = 10
HOLD_SECONDS = 20
POLLERS = 6
STREAMS = 6
# The other requests read: a poll, who am I, /health.
POST_EVERY = 4
CONVERSATIONS = 40
CATCH_UP_SECONDS_MAX = 60


class Connection:
    """HTTP/1.1 over one kept connection, opened anew when it broke."""

    def __init__(self, port):
        self.port, self.streams = port, None

    async def open(self):
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        return self.streams

    def close(self):
        if self.streams:
            self.streams[1].close()
        self.streams = None

    async def head(self, method, path, token=None, form=None):
        """Sends a request and reads the answer's head; returns status and headers."""
        kept = self.streams is not None
        reader, writer = await self.open()
        body = urlencode(form).encode() if form is not None else b""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        if method == "POST":
            lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        try:
            await writer.drain()
            text = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            self.close()
            # A kept connection that was closed while idle: any client sends a GET again on a new one.
            if kept and method == "GET" and not error.partial:
                return await self.head(method, path, token, form)
            raise ConnectionError("closed without an answer") from error
        first, *rest = text.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
        return int(first.split(" ")[1]), headers

    async def chunk(self):
        """The next piece of a body in chunks; where they are cut says nothing."""
        reader = self.streams[0]
        size = int(await reader.readline(), 16)
        return (await reader.readexactly(size + 2))[:-2]

    async def ask(self, method, path, token=None, form=None):
        try:
            status, headers = await self.head(method, path, token, form)
            reader = self.streams[0]
            if "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = b""
                while piece := await self.chunk():
                    body += piece
            else:
                body = b""
            if headers.get("connection", "").lower() == "close":
                self.close()
            return status, headers, body
        except BaseException:
            self.close()
            raise


class Run:
    def __init__(self, port):
        self.port = port
        # (due, method, failed, when it ended)
        self.outcomes = []
        self.posted, self.unknown = [], []
        # No more requests begin; and then: none is under way any more.
        self.over = self.ended = False

    async def sign_up(self, name):
        connection = Connection(self.port)
        form = {"username": f"{name}{time.time_ns()}", "password": "secret-password"}
        status, _, body = await connection.ask("POST", "/auth/register", form=form)
        assert status == 201, body
        return json.loads(body)["token"]

    async def prepare(self):
        self.token = await self.sign_up("asks")
        # Many: what a frozen instance has locked is locked for all.
        self.conversations = []
        for number in range(CONVERSATIONS):
            form = {"title": f"Balanced {number}"}
            status, _, body = await Connection(self.port).ask("POST", "/conversations", self.token, form)
            assert status == 201, body
            self.conversations.append(json.loads(body)["id"])
        status, _, body = await Connection(self.port).ask("GET", "/api/updates", self.token)
        self.cursor = json.loads(body)["cursor"]

    async def one(self, connection, number, due):
        method = "POST" if number % POST_EVERY == 0 else "GET"
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                if method == "POST":
                    to = self.conversations[number // POST_EVERY % CONVERSATIONS]
                    form = {"conversationId": to, "content": f"message {number}"}
                    status, _, body = await connection.ask("POST", "/messages", self.token, form)
                    if status == 201:
                        self.posted.append(json.loads(body)["id"])
                else:
                    paths = (f"/api/updates?cursor={quote(self.cursor)}", "/auth/me", "/health")
                    status, _, body = await connection.ask("GET", paths[number % 3], self.token)
            # haproxy's own errors are pages, an instance's say why.
            why = "by the balancer" if body.startswith(b"<html>") else body.decode()[:80]
            failed = None if status < 500 else f"{status} {why}"
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            connection.close()
            failed = type(error).__name__
            if method == "POST":
                self.unknown.append(number)
        self.outcomes.append((due, method, failed, time.monotonic()))

    async def load(self):
        """A request each 1 / RATE s, on whichever connection is free; more connections when all are busy."""
        free = [Connection(self.port) for _ in range(CLIENTS)]
        running, begin, number = set(), time.monotonic(), 0

        async def run(connection, number, due):
            await self.one(connection, number, due)
            free.append(connection)

        while not self.over:
            due = begin + number / RATE
            await asyncio.sleep(max(0, due - time.monotonic()))
            connection = free.pop(0) if free else Connection(self.port)
            task = asyncio.create_task(run(connection, number, due))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        if running:
            await asyncio.wait(running)

    async def poll(self, seen):
        """What a front end does: asks again with the last cursor, whatever happened."""
        cursor, connection = self.cursor, Connection(self.port)
        while not self.caught_up(seen):
            try:
                async with asyncio.timeout(HOLD_SECONDS + REQUEST_SECONDS_MAX):
                    path = f"/api/updates?cursor={quote(cursor)}&wait={HOLD_SECONDS}"
                    status, headers, body = await connection.ask("GET", path, self.token)
                if status == 200:
                    seen.update(message["id"] for message in json.loads(body)["messages"])
                if status in (200, 204):
                    cursor = headers["x-updates-cursor"]
                    continue
                assert status >= 500, (status, body)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                connection.close()
            await asyncio.sleep(0.2)

    async def stream(self, seen):
        cursor, connection = self.cursor, Connection(self.port)
        while not self.caught_up(seen):
            try:
                # Heartbeats come each 15 s: beyond that the other side is gone.
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    path = f"/api/updates/stream?cursor={quote(cursor)}"
                    status, _ = await connection.head("GET", path, self.token)
                rest = b""
                while status == 200:
                    async with asyncio.timeout(HOLD_SECONDS):
                        while b"\n" not in rest:
                            rest += await connection.chunk()
                    line, _, rest = rest.partition(b"\n")
                    if line.startswith(b"id: "):
                        following = line[4:].strip().decode()
                    elif line.startswith(b"data: "):
                        content = json.loads(line[6:])
                        seen.update(message["id"] for message in content.get("messages", []))
                        cursor = following
                    if self.caught_up(seen):
                        break
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, AttributeError):
                pass
            connection.close()
            await asyncio.sleep(0.2)

    def caught_up(self, seen):
        return self.ended and set(self.posted) <= seen

    def line(self, name, begin, end):
        """Failed requests of those that were due in the trouble, and how long until none failed any more."""
        cells = [name]
        for method in ("GET", "POST"):
            due = [outcome for outcome in self.outcomes if outcome[1] == method and begin <= outcome[0] < end]
            failed = [outcome for outcome in due if outcome[2]]
            if not failed:
                cells += [f"0 of {len(due)}", "0 %", "0"]
                continue
            until = max(outcome[0] for outcome in failed) - begin
            during = [outcome for outcome in due if outcome[0] <= begin + until]
            share = 100 * len(failed) / len(during)
            cells += [f"{len(failed)} of {len(due)}", f"{share:.0f} %", f"{until:.1f}"]
        print("| " + " | ".join(cells) + " |", flush=True)

    def failures(self, name, begin, end):
        kinds = collections.Counter(
            f"{outcome[1]} {outcome[2]}" for outcome in self.outcomes if outcome[2] and begin <= outcome[0] < end
        )
        if kinds:
            print(f"{name}: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())), flush=True)

    async def ledger(self):
        """How many messages are stored twice."""
        contents = []
        for conversation in self.conversations:
            path = f"/conversations/{conversation}/messages"
            status, _, body = await Connection(self.port).ask("GET", path, self.token)
            assert status == 200, body
            contents += [message["content"] for message in json.loads(body)]
        return len(contents) - len(set(contents))


async def main():
    run = Run(int(sys.argv[1]))
    await run.prepare()
    load = asyncio.create_task(run.load())
    seen = [set() for _ in range(POLLERS + STREAMS)]
    followers = [
        asyncio.create_task((run.poll if number < POLLERS else run.stream)(own)) for number, own in enumerate(seen)
    ]
    print("ready", flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    troubles, name, begin = [], None, 0
    while order := (await orders.readline()).decode().strip():
        if order == "end":
            troubles.append((name, begin, time.monotonic()))
        else:
            name, begin = order, time.monotonic()
    run.over = True
    await load
    run.ended = True
    for trouble in troubles:
        run.line(*trouble)
    for trouble in troubles:
        run.failures(*trouble)
    done, late = await asyncio.wait(followers, timeout=CATCH_UP_SECONDS_MAX)
    for task in done:
        task.result()
    missed = sum(len(set(run.posted) - own) for own in seen)
    for number, own in enumerate(seen):
        if lost := sorted(set(run.posted) - own, key=int):
            kind = "poll" if number < POLLERS else "stream"
            print(f"{kind} {number}, {'late' if followers[number] in late else 'done'}, missed {lost[:20]}")
    doubled = await run.ledger()
    print(
        f"followers: {POLLERS} held polls and {STREAMS} streams, {len(run.posted)} messages whose POST was answered, "
        f"{missed} missed; {doubled} stored twice; {len(run.unknown)} POSTs of unknown outcome"
    )
    if missed or doubled or late:
        sys.exit("updates were lost or doubled")


asyncio.run(main())
