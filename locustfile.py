"""Load on hyperdesk, as people cause it: one class for each kind of person.

    locust -f locustfile.py                              the help desk's three, with the web page
    locust -f locustfile.py --headless -u 200 -r 20 -t 60s --exit-code-on-error 1
    locust -f locustfile.py HyperstoreUser               another service: name its classes
    locust -f locustfile.py BookBrowser BookBuyer
    locust -f locustfile.py --tags poll                  only the tasks with this tag
    locust -f locustfile.py --class-picker               choose the classes on the web page

With no class named only the help desk's run (NewUser, IdleUser, ActiveUser), since the other services
may be off and would make every figure of the help desk a figure of something else. The host is
http://localhost:3000 unless --host says otherwise. `locust --list` shows every class.

HyperstoreUser needs a client that may read and stock; make one and pass it on:

    hyperdesk oauth-client create --scope read,stock
    OAUTH_CLIENT_ID=... OAUTH_CLIENT_SECRET=... locust -f locustfile.py HyperstoreUser

Hundreds of people from one address look like somebody who guesses passwords, and get 429. So start the
server with ADDRESS_ATTEMPTS_MAX=1000000.

What counts as a failure: everything but the expected answer. Where people race for one thing (a
conversation that another expert claims first, the last book) losing is an expected answer too.
"""

import os
import random
import struct
import sys
import zlib
from datetime import datetime, timezone

from locust import FastHttpUser, between, constant, events, tag, task

NAMES_MAX = 10_000
POLL_SECONDS = 5
STOCK_REFILL = 500

HELP_DESK = ["NewUser", "IdleUser", "ActiveUser"]


@events.init_command_line_parser.add_listener
def _only_the_help_desk_by_default(parser):
    """Locust runs every class of a file unless told otherwise; here "otherwise" is the default.

    As the default of locust's own argument, so that naming classes, LOCUST_USER_CLASSES and the class
    picker work as they always do.
    """
    if not parser.get_default("user_classes"):
        parser.set_defaults(user_classes=HELP_DESK)


@events.init.add_listener
def _clients_are_configured(environment, **_):
    """Says at once what is missing, instead of a thousand users failing one by one."""
    if HyperstoreUser in environment.user_classes and not all(HyperstoreUser.client_credentials):
        sys.exit("HyperstoreUser needs OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET (see locustfile.py)")


def _names():
    """Endless names from a fixed stock, each of six letters at least, as they are passwords as well.

    Shuffled, so that locust's worker processes do not all walk through the same people in step.
    """
    names = [f"user{number:05d}" for number in range(NAMES_MAX)]
    while True:
        random.shuffle(names)
        yield from names


NAMES = _names()

# Who has signed in during this run, for those who come back. Bounded by NAMES_MAX.
KNOWN_NAMES = {}


def a_known_name():
    """A name that has an account already, or a new one while there is none."""
    return random.choice(list(KNOWN_NAMES)) if KNOWN_NAMES else next(NAMES)


def now():
    """The client's clock as the existing clients send it: UTC, without saying so.

    The same text as `datetime.utcnow().isoformat()`, which newer Pythons warn of.
    """
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat()


class Caller(FastHttpUser):
    """A client that knows which answers it expects."""

    abstract = True
    host = "http://localhost:3000"
    connection_timeout = 10.0
    network_timeout = 30.0

    token = None

    def call(self, method, path, expected, *, name=None, headers=None, **body):
        """Makes one call and returns (status, parsed JSON or None).

        `expected` is the status, or several; anything else is counted as a failure. `name` groups
        the calls that differ by an id only, without which locust would keep a line for each id.
        """
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        statuses = expected if isinstance(expected, tuple) else (expected,)
        with self.client.request(
            method, path, name=name, headers=headers, catch_response=True, **body
        ) as answer:
            if answer.status_code not in statuses:
                reason = answer.error or (answer.text or "")[:200]
                answer.failure(f"{answer.status_code} instead of {statuses}: {reason}")
                return answer.status_code, None
            try:
                parsed = answer.json() if answer.content else None
            except ValueError as error:
                answer.failure(f"{answer.status_code}, but its body is not JSON: {error}")
                return 0, None
            answer.success()
            return answer.status_code, parsed


class Person(Caller):
    """Somebody with an account of the help desk (the bookstore knows the same people)."""

    abstract = True

    user_id = None

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
        KNOWN_NAMES[name] = True
        return True


# ---------------------------------------------------------------------------------------- help desk


class NewUser(Person):
    """Comes for the first time, with a question; then the next such person takes the seat."""

    weight = 1
    wait_time = between(10, 30)

    @tag("helpdesk", "register")
    @task
    def first_visit(self):
        """Registers, looks around, asks. In a second run the names are taken: then it logs in."""
        name = next(NAMES)
        if not (self.register(name) or self.log_in(name)):
            return
        self.call("GET", "/auth/me", 200)
        self.call("GET", "/conversations", 200)
        _, conversation = self.call("POST", "/conversations", 201, json={"title": f"{name} is new here"})
        if conversation:
            self.call(
                "POST",
                "/messages",
                201,
                json={"conversationId": conversation["id"], "content": "How does this work?"},
            )


class IdleUser(Person):
    """Has the page open and does nothing; the page asks what is new. Most of all load is this."""

    weight = 10
    wait_time = constant(POLL_SECONDS)

    def on_start(self):
        """Signs in once and counts from then on."""
        self.sign_in(next(NAMES))
        self.since = now()

    @tag("helpdesk", "poll")
    @task
    def poll(self):
        """The three questions of the existing front end. The clock is read after the answers."""
        if not self.token and not self.sign_in(next(NAMES)):
            return
        for path, who in (
            ("/api/conversations/updates", "userId"),
            ("/api/messages/updates", "userId"),
            ("/api/expert-queue/updates", "expertId"),
        ):
            query = f"?{who}={self.user_id}&since={self.since}"
            self.call("GET", path + query, 200, name=path)
        self.since = now()


class ActiveUser(Person):
    """Comes back, asks, reads, and helps others as an expert.

    Experts race for the conversations that wait: a claim may come too late (422), and what was
    claimed may be somebody else's by now (403, 404).
    """

    weight = 3
    wait_time = between(1, 5)

    def on_start(self):
        """Comes back under a name that has an account."""
        self.sign_in(a_known_name())

    def conversations(self):
        """The person's own ones, as asker and as expert."""
        _, conversations = self.call("GET", "/conversations", 200)
        return conversations or []

    def post(self, conversation_id, content, **fields):
        """Posts; the conversation may have been given back since it was listed.

        With `lastSeenMessageId` a reply that crosses somebody else's is refused (409), which is what it is for.
        """
        self.call(
            "POST",
            "/messages",
            (201, 404, 409) if fields else (201, 404),
            json={"conversationId": conversation_id, "content": content, **fields},
        )

    @tag("helpdesk", "ask")
    @task(2)
    def ask(self):
        """Opens a conversation with a first message."""
        _, conversation = self.call("POST", "/conversations", 201, json={"title": f"Question of {now()}"})
        if conversation:
            self.post(conversation["id"], "It worked yesterday. What can I do?")

    @tag("helpdesk", "post")
    @task(4)
    def go_on(self):
        """Writes into a conversation that is not over."""
        under_way = [one for one in self.conversations() if one["status"] != "resolved"]
        if under_way:
            self.post(random.choice(under_way)["id"], "I tried that, and it still does not work.")

    @tag("helpdesk", "post")
    @task(2)
    def answer_what_was_read(self):
        """Reads, thinks, and answers what was read: somebody else may have answered meanwhile."""
        under_way = [one for one in self.conversations() if one["status"] != "resolved"]
        if not under_way:
            return
        conversation_id = random.choice(under_way)["id"]
        path = f"/conversations/{conversation_id}/messages"
        _, messages = self.call("GET", path, (200, 404), name="/conversations/[id]/messages")
        if not isinstance(messages, list):
            return
        self.wait()
        last_seen = messages[-1]["id"] if messages else 0
        self.post(conversation_id, "That is what I mean.", lastSeenMessageId=last_seen)

    @tag("helpdesk", "browse")
    @task(6)
    def browse(self):
        """Opens a conversation and reads: what others wrote is marked as read."""
        conversations = self.conversations()
        if not conversations:
            return
        path = f"/conversations/{random.choice(conversations)['id']}"
        self.call("GET", path, (200, 404), name="/conversations/[id]")
        _, messages = self.call("GET", f"{path}/messages", (200, 404), name="/conversations/[id]/messages")
        if not isinstance(messages, list):
            return
        unread = [one for one in messages if one["senderId"] != str(self.user_id) and not one["isRead"]]
        for message in unread[:5]:
            self.call("PUT", f"/messages/{message['id']}/read", (200, 403, 404), name="/messages/[id]/read")

    @tag("helpdesk", "expert")
    @task(3)
    def help_somebody(self):
        """Claims one of those who wait and answers; then resolves it, gives it back, or keeps it."""
        _, queue = self.call("GET", "/expert/queue", 200)
        waiting = queue["waitingConversations"] if queue else []
        if not waiting:
            return
        conversation_id = random.choice(waiting)["id"]
        # Experts read before they claim; by then somebody else may have claimed it.
        self.call("GET", f"/conversations/{conversation_id}", (200, 404), name="/conversations/[id]")
        path = f"/expert/conversations/{conversation_id}"
        status, _ = self.call(
            "POST", f"{path}/claim", (200, 404, 422), name="/expert/conversations/[id]/claim"
        )
        if status != 200:
            return
        self.post(conversation_id, "Have you tried turning it off and on again?")
        end = random.choices(["resolve", "unclaim", None], weights=[5, 1, 4])[0]
        if end:
            self.call("POST", f"{path}/{end}", (200, 403, 404), name=f"/expert/conversations/[id]/{end}")

    @tag("helpdesk", "expert")
    @task(1)
    def fall_silent(self):
        """Claims one, and is never heard of again: it goes back to the queue if claims have a lease.

        Whoever takes this seat next has a name of their own, so nobody polls for the one who is gone.
        """
        _, queue = self.call("GET", "/expert/queue", 200)
        waiting = queue["waitingConversations"] if queue else []
        if not waiting:
            return
        path = f"/expert/conversations/{random.choice(waiting)['id']}/claim"
        self.call("POST", path, (200, 404, 422), name="/expert/conversations/[id]/claim")
        self.sign_in(a_known_name())

    @tag("helpdesk", "expert")
    @task(1)
    def look_at_own_work(self):
        """What an expert has done, and how others see them."""
        self.call("GET", "/expert/assignments/history", 200)
        self.call("GET", "/expert/profile", 200)


# ------------------------------------------------------------------------------------ stock counter


class HyperstoreUser(Caller):
    """A shop program: looks at the one hot number, buys, and fills it up again."""

    wait_time = between(1, 2)
    client_credentials = (os.environ.get("OAUTH_CLIENT_ID"), os.environ.get("OAUTH_CLIENT_SECRET"))

    def get_token(self, scope):
        """The client credentials grant of RFC 6749, §4.4. The earlier token is not sent along."""
        self.token = None
        client_id, client_secret = self.client_credentials
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
        }
        _, body = self.call("POST", "/oauth/token", 200, name=f"/oauth/token ({scope})", data=form)
        self.token = body["access_token"] if body else None
        return self.token is not None

    @tag("stock")
    @task
    def visit(self):
        """One visit of the known load test, in its order. Sold out (404) is an answer, not a failure."""
        if not self.get_token("read"):
            return
        for _ in range(random.randint(5, 12)):
            self.call("GET", "/api/hyper", 200)
        for _ in range(random.randint(1, 3)):
            self.call("PUT", "/api/hyper/own", (200, 404))
        for _ in range(random.randint(2, 5)):
            self.call("GET", "/api/hyper", 200)
        if self.get_token("stock"):
            self.call("POST", "/api/hyper", 200, json={"quantity": STOCK_REFILL})


# ---------------------------------------------------------------------------------------- bookstore


class Reader(Person):
    """Somebody in the bookstore."""

    abstract = True

    def on_start(self):
        """The bookstore's people are the help desk's."""
        self.sign_in(next(NAMES))

    def books(self, query):
        """One page of the shelves."""
        _, books = self.call("GET", f"/books?{query}", 200, name=f"/books?{query.split('=')[0]}=")
        return books or []


class BookBrowser(Reader):
    """Looks and does not buy: reads only, which the reader endpoint may answer."""

    weight = 9
    wait_time = between(1, 3)

    @tag("bookstore", "read")
    @task(3)
    def turn_pages(self):
        """A page, and a book or two of it."""
        books = self.books(f"page={random.randint(1, 3)}")
        for book in random.sample(books, min(2, len(books))):
            self.call("GET", f"/books/{book['id']}", (200, 404), name="/books/[id]")

    @tag("bookstore", "read")
    @task(1)
    def search(self):
        """A search by word."""
        self.books("q=" + random.choice(["sea", "history", "load", "garden"]))


class BookBuyer(Reader):
    """Buys, pays and has it sent; sells a book now and then, so that there are some."""

    weight = 1
    wait_time = between(2, 6)

    @tag("bookstore", "write")
    @task(1)
    def sell(self):
        """Offers a book and sees it at once among the own ones, wherever that is read from."""
        title = f"A history of load, volume {random.randint(1, 99)}"
        offer = {
            "title": title,
            "author": "A. Seller",
            "description": "Good as new",
            "price": "19.90",
            "stock": 20,
        }
        _, book = self.call("POST", "/books", 201, json=offer)
        if book:
            self.call("GET", "/books/mine", 200)

    @tag("bookstore", "write")
    @task(4)
    def buy(self):
        """The way of a purchase. That the last one is gone (409) or taken back (404) is expected."""
        in_stock = [book for book in self.books("page=1") if book["stock"] > 0]
        if not in_stock:
            return
        book_id = random.choice(in_stock)["id"]
        status, purchase = self.call(
            "POST",
            f"/books/{book_id}/purchases",
            (201, 404, 409),
            name="/books/[id]/purchases",
            json={"quantity": 1},
        )
        if status != 201:
            return
        path, name = f"/purchases/{purchase['id']}", "/purchases/[id]"
        self.call("POST", f"{path}/payment", (200, 201), name=f"{name}/payment", json={"method": "card"})
        _, providers = self.call("GET", "/delivery-providers", 200)
        if providers:
            choice = {"providerId": random.choice(providers)["id"]}
            self.call("POST", f"{path}/delivery", (200, 201), name=f"{name}/delivery", json=choice)
        self.call("GET", path, 200, name=name)


# ------------------------------------------------------------------------------------ message board


def a_small_picture():
    """A valid PNG of one coloured pixel; the colour is chance, so that no two are the same file."""

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)  # one by one, 8 bits, red green blue
    pixel = b"\0" + random.randbytes(3)  # a line starts with its filter: none
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixel))
        + chunk(b"IEND", b"")
    )


def as_multipart(message, filename, picture):
    """The two fields as a browser sends them. By hand, since FastHttpUser knows no file uploads."""
    boundary = f"----{random.getrandbits(64):016x}"
    body = b"\r\n".join(
        [
            f"--{boundary}".encode(),
            b'Content-Disposition: form-data; name="message"',
            b"",
            message.encode(),
            f"--{boundary}".encode(),
            f'Content-Disposition: form-data; name="file"; filename="{filename}"'.encode(),
            b"Content-Type: image/png",
            b"",
            picture,
            f"--{boundary}--".encode(),
            b"",
        ]
    )
    return body, f"multipart/form-data; boundary={boundary}"


class BoardReader(Caller):
    """Looks at the board."""

    weight = 9
    wait_time = between(1, 3)

    @tag("board", "read")
    @task
    def read(self):
        """The newest messages and, where this server also keeps the pictures, one of those."""
        _, messages = self.call("GET", "/readMessages", 200)
        here = [one["image_url"] for one in messages or [] if one["image_url"].startswith("/media/")]
        if here:
            self.client.get(random.choice(here), name="/media/[name]")


class BoardUploader(Caller):
    """Pins a message and a picture to the board."""

    weight = 1
    wait_time = between(2, 6)

    @tag("board", "write")
    @task
    def upload(self):
        """One upload, as the form of the page sends it."""
        body, content_type = as_multipart(f"Greetings at {now()}", "dot.png", a_small_picture())
        self.call("POST", "/upload/", 200, data=body, headers={"Content-Type": content_type})


# ------------------------------------------------------------------------------------ date and time


class DateTimeUser(Caller):
    """The three shapes of load, as often each: no database, a write, a read."""

    wait_time = between(0.5, 1.5)

    @tag("datetime")
    @task
    def without_database(self):
        """Computed only."""
        self.call("GET", "/date_time_only", 200)

    @tag("datetime", "write")
    @task
    def write(self):
        """Stored."""
        self.call("GET", "/date_time", 200)

    @tag("datetime", "read")
    @task
    def read(self):
        """The last one stored; 404 while there is none."""
        self.call("GET", "/latest_date_time", (200, 404))
