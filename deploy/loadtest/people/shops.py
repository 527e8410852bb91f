"""The people of the other four services."""

import os
import random
import struct
import zlib

from locust import between, tag, task

from .caller import NAMES, Caller, Person, now

STOCK_REFILL = 500

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
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b"")


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
