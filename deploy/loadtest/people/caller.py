"""Clients that know which answers they expect."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

from locust import FastHttpUser

NAMES_MAX = 10_000


def _names() -> Iterator[str]:
    """Endless names from a fixed stock, each of six letters at least, as they are passwords as well.

    Shuffled, so that locust's worker processes do not all walk through the same people in step.
    """
    names = [f"user{number:05d}" for number in range(NAMES_MAX)]
    while True:
        random.shuffle(names)
        yield from names


NAMES = _names()

# Who has signed in during this run, for those who come back. Bounded by NAMES_MAX.
KNOWN_NAMES: dict[str, bool] = {}


def a_known_name() -> str:
    """A name that has an account already, or a new one while there is none."""
    return random.choice(list(KNOWN_NAMES)) if KNOWN_NAMES else next(NAMES)


def now() -> str:
    """The client's clock as the existing clients send it: UTC, without saying so.

    The same text as `datetime.utcnow().isoformat()`, which newer Pythons warn of.
    """
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


class Caller(FastHttpUser):
    """A client that knows which answers it expects."""

    abstract = True
    host = "http://localhost:3000"
    connection_timeout = 10.0
    network_timeout = 30.0

    token: str | None = None

    def call(self, method, path, expected, *, name=None, headers=None, unlike=None, **body):
        """Makes one call and returns (status, parsed JSON or None).

        `expected` is the status, or several; anything else is counted as a failure, as is a body for which `unlike`
        returns what is wrong with it. `name` groups the calls that differ by an id only, without which locust would
        keep a line for each id.
        """
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        statuses = expected if isinstance(expected, tuple) else (expected,)
        with self.client.request(method, path, name=name, headers=headers, catch_response=True, **body) as answer:
            if answer.status_code not in statuses:
                reason = (answer.text or "")[:100] or type(answer.error).__name__
                answer.failure(f"{answer.status_code} instead of {statuses}: {reason}")
                return answer.status_code, None
            try:
                parsed = answer.json() if answer.content else None
            except ValueError as error:
                answer.failure(f"{answer.status_code}, but its body is not JSON: {error}")
                return 0, None
            if unlike and (wrong := unlike(parsed)):
                answer.failure(wrong)
                return 0, None
            answer.success()
            return answer.status_code, parsed


class Person(Caller):
    """Somebody with an account of the help desk (the bookstore knows the same people)."""

    abstract = True

    user_id: int | None = None
    # Whether others may come back under this person's name.
    is_known = True

    def register(self, name):
        """Makes an account; False if somebody has this name."""
        return self._enter("/auth/register", name, (201, 422))

    def log_in(self, name):
        """Signs in; False if there is no such account."""
        return self._enter("/auth/login", name, (200, 401))

    def sign_in(self, name):
        """Signs in, making the account if need be. Another client may make it in between."""
        return self.log_in(name) or self.register(name) or self.log_in(name)

    def _enter(self, path, name, expected):
        self.token = None
        # The cookie of whoever sat here before would make this call theirs.
        self.client.cookiejar.clear()
        _, body = self.call("POST", path, expected, json={"username": name, "password": name})
        if not body or "token" not in body:
            return False
        self.token, self.user_id = body["token"], body["user"]["id"]
        if self.is_known:
            KNOWN_NAMES[name] = True
        return True
