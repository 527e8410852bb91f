"""Who wrote what, and whether everybody whom it concerns was told, once.

What is checked shows in locust's table under the type TOLD, a line for each way of asking; its time is that from the
answer to a POST until somebody's poll, held poll or stream showed the message. A failure is

- missed: an answer to a question that was asked `--fresh-seconds` after the POST was answered does not have the
  message, and neither had one before;
- told twice: one position in the feed told the same message twice, or one POST is there under two ids; but a poll
  may tell again what was numbered together with another message that it told, less than `TOGETHER_SECONDS` apart,
  and what came late: after a message with a later time, which is what the reader echoes. Where there was such a
  message, and the feed's memory has let it go since, the database tells again what is `COMMIT_SECONDS` older;
- another text: the message is there and says something else;
- somebody else's: a message of a conversation that the reader takes no part in.

The ledger is one process's memory. So experts answer only those who ask from the same process (`--processes 4` makes
four such towns), and every message of a conversation in the ledger has its writer there.
"""

import os
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime

# What the titles of the ledger's conversations begin with: everybody else leaves them alone.
TITLE = "For the ledger:"
# Of two changes of different conversations that the feed numbered in one go, an older answer may have had but one: so a
# `since` poll that echoes the time of the one is told the other again. A busy feed does so a few times a second.
TOGETHER_SECONDS = 0.5
# As late as a message may be committed after its time, and as far as the database is asked back from the time that is
# echoed where one may be lacking. It is asked once the feed's memory has let go of them: not within MEMORY_SECONDS.
COMMIT_SECONDS = 5.0
MEMORY_SECONDS = 30.0


@dataclass(frozen=True)
class Posted:
    """A message whose POST was answered. Times are this process's monotonic clock."""

    id: str
    content: str
    sent_at: float
    answered_at: float


@dataclass
class Talk:
    """One conversation of the ledger."""

    id: str
    messages: list[Posted] = field(default_factory=list)
    # No more is written here.
    over: bool = False

    def posted(self, message_id: str, content: str, sent_at: float, answered_at: float) -> None:
        """Notes what the server acknowledged."""
        self.messages.append(Posted(message_id, content, sent_at, answered_at))


class Ledger:
    """The conversations of this process; those that are over are forgotten by who followed them."""

    def __init__(self):
        self.begin()

    def begin(self) -> None:
        """An empty ledger, whose names and texts nobody else has: each process has its own."""
        self.mark = uuid.uuid4().hex[:12]
        self.talks: dict[str, Talk] = {}
        self._number = 0

    def open(self, conversation_id: str) -> Talk:
        """Notes a conversation that somebody of this process opened."""
        return self.talks.setdefault(conversation_id, Talk(conversation_id))

    def forget(self, talk: Talk) -> None:
        """Drops a conversation in which nothing is expected any more."""
        self.talks.pop(talk.id, None)

    def name(self) -> str:
        """A name that nobody else has."""
        self._number += 1
        return f"{self.mark}.{self._number}"

    def text(self, words: str) -> str:
        """Words that nobody else writes."""
        self._number += 1
        return f"{self.mark}.{self._number} {words}"


LEDGER = Ledger()
# Locust's `--processes` forks after this file was read.
os.register_at_fork(after_in_child=LEDGER.begin)


class Follower:
    """What one reader was told, by one way of asking, against what it ought to have been told."""

    def __init__(self, environment, way: str, may_repeat: bool = False):
        self.environment, self.way, self.may_repeat = environment, way, may_repeat
        self._talks: dict[str, tuple[Talk, float]] = {}
        # How far each talk's messages were taken over into `_open`.
        self._taken: dict[str, int] = {}
        self._open: dict[str, Posted] = {}
        self._told: dict[str, tuple[str, float]] = {}
        self._stamps: dict[str, float] = {}
        # Told after a message with a later time: the time that this reader echoes does not say that they have it.
        self._late: set[str] = set()
        self._texts: dict[str, str] = {}

    def follow(self, talk: Talk, since: float) -> None:
        """From now on messages of this conversation whose POST began after `since` are expected."""
        self._talks[talk.id] = (talk, since)
        self._taken[talk.id] = 0

    def knows(self, conversation_id: str) -> bool:
        """Whether the reader takes part."""
        return conversation_id in self._talks

    def told(self, messages: list[dict], asked_at: float) -> None:
        """An answer came to what was asked at `asked_at`: takes what it says, and looks what it ought to have said."""
        arrived = time.monotonic()
        for message in messages:
            self._take(message, arrived)
        self.check(asked_at)

    def _take(self, message: dict, arrived: float) -> None:
        key, content = message["id"], message["content"]
        if message["conversationId"] not in self._talks:
            self._fail(f"somebody else's: a message of conversation {message['conversationId']}")
        if key in self._told:
            after, newest = arrived - self._told[key][1], max(self._stamps.values())
            apart = TOGETHER_SECONDS if after < MEMORY_SECONDS else COMMIT_SECONDS
            if not self.may_repeat and key not in self._late and not self._is_near_another(key, apart):
                # Whole seconds and no id: locust keeps a line for each text.
                self._fail(
                    f"told twice: the same message, {after:.0f} s after the first time, "
                    f"{newest - self._stamps[key]:.0f} s older than the newest"
                )
            return
        if content.startswith(LEDGER.mark) and self._texts.setdefault(content, key) != key:
            self._fail("told twice: one POST, two messages")
        self._told[key] = (content, arrived)
        stamp = datetime.fromisoformat(message["timestamp"].replace("Z", "+00:00")).timestamp()
        if stamp < max(self._stamps.values(), default=stamp):
            self._late.add(key)
        self._stamps[key] = stamp

    def _is_near_another(self, key: str, apart: float) -> bool:
        """Whether another message that was told has nearly the same time, so that a poll may tell both again."""
        stamp = self._stamps[key]
        return any(abs(other - stamp) < apart for at, other in self._stamps.items() if at != key)

    def check(self, asked_at: float) -> None:
        """Compares with the ledger what an answer to a question of `asked_at` had to have."""
        for talk, since in self._talks.values():
            for posted in talk.messages[self._taken[talk.id] :]:
                if posted.sent_at >= since:
                    self._open[posted.id] = posted
            self._taken[talk.id] = len(talk.messages)
        fresh = self.environment.parsed_options.fresh_seconds
        for posted in list(self._open.values()):
            told = self._told.get(posted.id)
            if told:
                del self._open[posted.id]
                if told[0] != posted.content:
                    self._fail("another text: a message says something else than what was posted")
                else:
                    self._fire(max(0.0, told[1] - posted.answered_at) * 1e3, None)
            elif asked_at > posted.answered_at + fresh:
                del self._open[posted.id]
                late = asked_at - posted.answered_at
                self._fail(f"missed: asked {late:.0f} s after the POST was answered")

    def is_behind(self) -> bool:
        """Whether something is expected that was not told yet."""
        return bool(self._open) or any(len(talk.messages) > self._taken[talk.id] for talk, _ in self._talks.values())

    def _fail(self, what: str) -> None:
        self._fire(None, AssertionError(what))

    def _fire(self, response_time: float | None, exception: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="TOLD",
            name=self.way,
            response_time=response_time,
            response_length=0,
            exception=exception,
            context={},
        )
