"""Data for fixed-rate runs: people, conversations and messages by SQL, and requests with tokens of ours.

The tokens are in the server's own shape, signed with its key, since signing in a thousand people costs a thousand
hashes, which are not what is measured. Whoever polls does not post: so a poll's `since`, which is after all that was
there at the beginning, stays without news, and the posts go to other people's conversations.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from datetime import datetime, timezone
from urllib.parse import unquote, urlparse

import pymysql

PEOPLE = 1_000
MESSAGES = 5
WAITING = 50
ROWS_PER_INSERT = 1_000
TOKEN_SECONDS = 86_400


def connect():
    """The database that DATABASE_URL names."""
    url = urlparse(os.environ["DATABASE_URL"])
    return pymysql.connect(
        host=url.hostname,
        port=url.port,
        user=url.username,
        password=unquote(url.password or ""),
        database=url.path[1:],
        autocommit=True,
    )


def sign(claims: dict) -> str:
    """A JSON Web Token, HS256."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(b'{"alg":"HS256","typ":"JWT"}')
    body = part(json.dumps(claims, separators=(",", ":")).encode())
    key = os.environ["SECRET_KEY_BASE"].encode()
    return f"{head}.{body}.{part(hmac.digest(key, f'{head}.{body}'.encode(), hashlib.sha256))}"


class Desk:
    """The people and their requests."""

    def __init__(self, people: int = PEOPLE):
        self.people = people
        # Whole milliseconds before now, so that it fits DATETIME(6) and is before all that follows.
        self.made = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
        self.fill()
        # A second after everything: a poll from the time of the last news would reach back to it.
        time.sleep(1.1)
        self.since = datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
        micros = int(self.made.replace(tzinfo=timezone.utc).timestamp() * 1_000_000)
        issued = int(time.time())
        self.tokens = [
            sign(
                {
                    "user_id": user,
                    "sid": hashlib.md5(str(user).encode()).hexdigest(),
                    "user_created_at": micros,
                    "iat": issued,
                    "exp": issued + TOKEN_SECONDS,
                }
            )
            for user in range(1, people + 1)
        ]

    def fill(self) -> None:
        """Person n opened conversation n, person n + 1 is its expert; the last ones wait."""
        database = connect()
        cursor = database.cursor()

        def insert(table: str, columns: str, rows: list[tuple]) -> None:
            marks = ", ".join(["%s"] * len(rows[0]))
            for at in range(0, len(rows), ROWS_PER_INSERT):
                part = rows[at : at + ROWS_PER_INSERT]
                cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", part)

        for table in ("users", "expert_profiles", "conversations", "messages", "expert_assignments"):
            cursor.execute(f"TRUNCATE TABLE {table}")
        cursor.execute("UPDATE feed_head SET epoch = UUID_SHORT()")
        made, everybody = self.made, range(1, self.people + 1)
        insert(
            "users",
            "id, username, password_digest, created_at, updated_at",
            [(user, f"person{user}", "x", made, made) for user in everybody],
        )
        insert(
            "expert_profiles",
            "user_id, bio, knowledge_base_links, created_at, updated_at",
            [(user, "", "[]", made, made) for user in everybody],
        )
        conversations, messages = [], []
        for user in everybody:
            waits = user > self.people - WAITING
            expert = None if waits else user % self.people + 1
            state = (made, made, made, MESSAGES, made, MESSAGES, MESSAGES)
            conversations.append((user, f"Question {user}", "waiting" if waits else "active", user, expert, *state))
            messages += [(user, user, "initiator", f"It is broken, {n}.", made, made) for n in range(MESSAGES)]
        insert(
            "conversations",
            "id, title, status, initiator_id, assigned_expert_id, created_at, updated_at, last_message_at, "
            "message_count, message_counted_at, unread, unread_from_initiator",
            conversations,
        )
        insert("messages", "conversation_id, sender_id, sender_role, content, created_at, updated_at", messages)
        database.close()

    def poll(self, number: int, kinds=("conversations", "messages", "expert-queue")) -> str:
        """One of the polls of one of those who never post."""
        user = number % (self.people // 2) + 1
        kind = kinds[number // (self.people // 2) % len(kinds)]
        who = "expertId" if kind == "expert-queue" else "userId"
        return f"GET /api/{kind}/updates?{who}={user}&since={self.since} {self.tokens[user - 1]}"

    def post(self, number: int) -> str:
        """A message in a conversation of the other half."""
        half = self.people // 2
        # Neither the first of the half, whose expert polls, nor those who wait, whose queue others look at.
        user = half + 2 + number % (half - WAITING - 4)
        body = json.dumps({"conversationId": str(user), "content": f"Message {number}."})
        return f"POST /messages {self.tokens[user - 1]} {body}"

    def requests(self, share_of_posts: float, kinds=("conversations", "messages", "expert-queue")) -> str:
        """The lines for openloop: enough that everybody's turn comes before the first one's again."""
        count = max(3 * self.people // 2, int(self.people / max(share_of_posts, 0.01)) if share_of_posts < 1 else 0)
        lines, posts, polls, owed = [], 0, 0, 0.0
        for _ in range(count):
            owed += share_of_posts
            if owed >= 1:
                owed -= 1
                lines.append(self.post(posts))
                posts += 1
            else:
                lines.append(self.poll(polls, kinds))
                polls += 1
        return "\n".join(lines) + "\n"
