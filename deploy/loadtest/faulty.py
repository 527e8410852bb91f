"""A proxy with one fault, between locust and a good server: whether the load test notices. See selftest.py.

Each fault is sure to be there, not by chance:

- none:  passes everything on
- lose:  every fifth message is left out of every answer to GET /api/messages/updates
- twice: what such an answer told is told again by the next one
- alter: every fifth message says something else there
- fail:  every hundredth answer is a 500
- late:  polls are answered LATE_SECONDS later
"""

import asyncio
import json

LATE_SECONDS = 1.5
LOSE_EVERY = 5
FAIL_EVERY = 100
FAULTS = ("none", "lose", "twice", "alter", "fail", "late")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str]]:
    """A request's or an answer's head, as it is and as headers."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    return head, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Proxy:
    """Serves on a port of its own until it is closed; `count` says how often the fault was there."""

    def __init__(self, upstream: int, fault: str):
        self.upstream, self.fault, self.count, self.requests = upstream, fault, 0, 0
        # What the last answer told, by the caller's credentials.
        self.last: dict[str, list] = {}

    async def start(self) -> int:
        """Its port."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=1 << 22)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, and one to the server for it."""
        server = None
        try:
            server = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 22)
            while True:
                await self.one(reader, writer, server)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Somebody left, or the test is over.
            pass
        finally:
            writer.close()
            if server:
                server[1].close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Streams) -> None:
        """One request and its answer."""
        head, headers = await read_head(reader)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        server[1].write(head + body)
        answer, answered = await read_head(server[0])
        if answered.get("transfer-encoding") == "chunked":
            writer.write(answer)
            while piece := await server[0].read(65_536):
                writer.write(piece)
                await writer.drain()
            raise ConnectionError("a stream's end is the connection's")
        told = b""
        if not answer.startswith(b"HTTP/1.1 204"):
            told = await server[0].readexactly(int(answered.get("content-length", 0)))
        path = head.split(b" ", 2)[1]
        answer, told = await self.spoil(path, headers.get("authorization", ""), answer, told)
        writer.write(answer + told)
        await writer.drain()

    async def spoil(self, path: bytes, who: str, answer: bytes, told: bytes) -> tuple[bytes, bytes]:
        """The answer with its fault."""
        self.requests += 1
        if self.fault == "fail" and self.requests % FAIL_EVERY == 0:
            self.count += 1
            return b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n", b"{}"
        is_poll = path.startswith((b"/api/messages/updates", b"/api/conversations/updates"))
        if self.fault == "late" and is_poll:
            self.count += 1
            await asyncio.sleep(LATE_SECONDS)
        is_list = path.startswith(b"/api/messages/updates") and answer.startswith(b"HTTP/1.1 200")
        if self.fault not in ("lose", "twice", "alter") or not is_list:
            return answer, told
        messages = json.loads(told)
        changed = self.change(messages, who)
        if changed == messages:
            return answer, told
        self.count += 1
        told = json.dumps(changed).encode()
        lines = [line for line in answer.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        lines.insert(1, b"Content-Length: %d" % len(told))
        return b"\r\n".join(lines), told

    def change(self, messages: list[dict], who: str) -> list[dict]:
        """What is told instead."""
        if self.fault == "twice":
            again, self.last[who] = self.last.get(who, []), messages
            return again + messages
        chosen = [one for one in messages if int(one["id"]) % LOSE_EVERY == 0]
        if self.fault == "lose":
            return [one for one in messages if one not in chosen]
        return [{**one, "content": one["content"] + "!"} if one in chosen else one for one in messages]
