"""The help desk's people. Each class says why it is as frequent as it is, and why it waits as long."""

import json
import random
import time
from http.client import HTTPException
from urllib.parse import quote

import gevent
from geventhttpclient import HTTPClient
from locust import between, tag, task

from .caller import NAMES, Person, a_known_name, now
from .ledger import LEDGER, TITLE, Follower, Talk

# Who leaves asks once more, when everything that was written can be told.
LAST_LOOK_SECONDS_MAX = 8
# What an asker's page shows: it is not woken by everybody else's questions.
PARTS = "conversations,messages"
# From one message of an asker to the next, in the mean.
WRITE_SECONDS = 30

QUESTIONS = (
    ("/api/conversations/updates", "userId"),
    ("/api/messages/updates", "userId"),
    ("/api/expert-queue/updates", "expertId"),
)


def not_a_list(body):
    """What is wrong with the body of a list."""
    return None if isinstance(body, list) else f"not a list: {str(body)[:100]}"


class NewUser(Person):
    """Comes for the first time, with a question; then the next such person takes the seat.

    Weight 1, because a desk meets few strangers at any time; 10 to 30 s is what reading a page and typing takes. Each
    costs a password's hash, the dearest thing that the server does.
    """

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
        self.call("GET", "/conversations", 200, unlike=not_a_list)
        _, conversation = self.call("POST", "/conversations", 201, json={"title": f"{name} is new here"})
        if conversation:
            self.call(
                "POST",
                "/messages",
                201,
                json={"conversationId": conversation["id"], "content": "How does this work?"},
            )


class IdleUser(Person):
    """Has the page open and does nothing; the page asks what is new. Most of all load is this.

    Weight 10, because nearly everybody who is connected only waits. 5 s is the existing front end's timer.
    """

    weight = 10

    def wait_time(self):
        """From the last answer to the next question."""
        return self.environment.parsed_options.poll_seconds

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
        for path, who in QUESTIONS:
            query = f"?{who}={self.user_id}&since={self.since}"
            self.call("GET", path + query, 200, name=path, unlike=not_a_list)
        self.since = now()


class Participant(Person):
    """Takes part in conversations of the ledger, and checks that it is told all of them (see ledger.py)."""

    abstract = True
    # Whoever came under the same name would open conversations that are not in the ledger.
    is_known = False
    due = 0.0

    def wait_time(self):
        """A browser's timer: however long the answers take, the next question is due 5 s after the last one was."""
        now = time.monotonic()
        self.due = max(self.due + self.environment.parsed_options.poll_seconds, now)
        return self.due - now

    def on_start(self):
        """Registers under a name that nobody else has."""
        self.name = LEDGER.name()
        self.follower = Follower(self.environment, "since")
        self.message_since = self.conversation_since = self.queue_since = None
        self.waiting: list[dict] = []
        self.statuses: dict[str, str] = {}
        self.register(self.name)

    def take_part(self, conversation: dict, talk: Talk, since: float):
        """Begins to follow a conversation; its own time is the first that is echoed."""
        self.follower.follow(talk, since)
        self.message_since = self.message_since or conversation["createdAt"]
        self.conversation_since = self.conversation_since or conversation["createdAt"]

    def ask_messages(self):
        """Asks from the newest time that the server gave: no repeat, no loss."""
        asked_at = time.monotonic()
        path, who = QUESTIONS[1]
        query = f"?{who}={self.user_id}&since={self.message_since}"
        _, messages = self.call("GET", path + query, 200, name=path, unlike=not_a_list)
        if messages is None:
            return
        # What came late may be all there is in an answer: whoever echoed its earlier time would ask again for the rest.
        self.message_since = max([self.message_since, *(message["timestamp"] for message in messages)])
        self.follower.told(messages, asked_at)

    def poll(self):
        """The three questions of a front end that echoes the newest times it was given."""
        (conversations, who), _, (queue, expert) = QUESTIONS
        if self.conversation_since:
            query = f"?{who}={self.user_id}&since={self.conversation_since}"
            _, changed = self.call("GET", conversations + query, 200, name=conversations, unlike=not_a_list)
            for conversation in changed or []:
                self.statuses[conversation["id"]] = conversation["status"]
                self.conversation_since = max(self.conversation_since, conversation["updatedAt"])
            self.ask_messages()
        # The queue's answer has no time of its own, so this one counts by the client's clock, read before it asks.
        before = now()
        query = f"?{expert}={self.user_id}" + (f"&since={self.queue_since}" if self.queue_since else "")
        _, elements = self.call("GET", queue + query, 200, name=queue, unlike=not_a_list)
        if elements is not None:
            self.queue_since = before
        if elements:
            self.waiting = elements[0]["waitingConversations"]

    def write(self, talk: Talk, words: str):
        """Posts, and notes what was acknowledged."""
        sent_at, content = time.monotonic(), LEDGER.text(words)
        status, message = self.call("POST", "/messages", 201, json={"conversationId": talk.id, "content": content})
        if status == 201:
            talk.posted(message["id"], content, sent_at, time.monotonic())

    def on_stop(self):
        """Asks until everything was told, or has been missed."""
        until = time.monotonic() + LAST_LOOK_SECONDS_MAX
        while self.message_since and time.monotonic() < until:
            self.ask_messages()
            if not self.follower.is_behind():
                return
            gevent.sleep(0.5)


class Asker(Participant):
    """Has a question open, watches the page for an answer, and writes about every half minute.

    Weight 4: a desk has a few people who talk for each dozen who only have the page open.
    """

    weight = 4
    talk: Talk | None = None

    @tag("helpdesk", "poll", "talk")
    @task
    def look(self):
        """Opens a conversation if there is none, else asks what is new and sometimes writes."""
        if not self.token and not self.sign_in(self.name):
            return
        if self.talk and (self.talk.over or self.statuses.get(self.talk.id) == "resolved"):
            self.talk = None
        if not self.talk:
            self.open()
        elif random.random() < self.environment.parsed_options.poll_seconds / WRITE_SECONDS:
            self.write(self.talk, "I tried that, and it still does not work.")
        self.poll()

    def open(self):
        """A new conversation with its first message."""
        begun = time.monotonic()
        _, conversation = self.call("POST", "/conversations", 201, json={"title": f"{TITLE} {self.name}"})
        if conversation:
            self.talk = LEDGER.open(conversation["id"])
            self.take_part(conversation, self.talk, begun)
            self.write(self.talk, "It worked yesterday. What can I do?")


class TabsUser(Asker):
    """Has the page open in several tabs, each asking in another way: polls, a held poll, a stream.

    Weight 1: few people do, but each of their tabs must be told everything, wherever it asks and however.
    """

    weight = 1

    def on_start(self):
        """Opens the tabs."""
        super().on_start()
        self.leaves = False
        self.followers = {way: Follower(self.environment, way, may_repeat=True) for way in ("held", "stream")}
        self.tabs = [gevent.spawn(self.hold), gevent.spawn(self.stream)] if self.token else []

    def take_part(self, conversation, talk, since):
        """Every tab follows the same conversations."""
        super().take_part(conversation, talk, since)
        for follower in self.followers.values():
            follower.follow(talk, since)

    def hold(self):
        """Held polls, one after the other, each with the cursor of the last answer."""
        seconds, cursor, path = self.environment.parsed_options.hold_seconds, None, "/api/updates"
        while not self.leaves:
            asked_at = time.monotonic()
            query = f"?parts={PARTS}" + (f"&wait={seconds}&cursor={quote(cursor)}" if cursor else "")
            headers = {"Authorization": f"Bearer {self.token}"}
            with self.client.get(path + query, name=f"{path} (held)", headers=headers, catch_response=True) as answer:
                # How long it is held says nothing of the server; how soon a message is told is a line of its own.
                answer.request_meta["response_time"] = None
                if answer.status_code not in (200, 204):
                    answer.failure(f"{answer.status_code} instead of 200 or 204: {(answer.text or '')[:100]}")
                    gevent.sleep(1)
                    continue
                answer.success()
                cursor = answer.headers["X-Updates-Cursor"]
                messages = answer.json()["messages"] if answer.status_code == 200 else []
            self.followers["held"].told(messages, asked_at)

    def stream(self):
        """One stream; where it ends it is begun again with the last event's cursor."""
        cursor = None
        while not self.leaves:
            try:
                cursor = self.read_stream(cursor)
                failed = None
            except (OSError, HTTPException, ValueError) as error:
                failed = error
            self.environment.events.request.fire(
                request_type="GET",
                name="/api/updates/stream",
                response_time=None,
                response_length=0,
                exception=failed,
                context={},
            )
            gevent.sleep(1)

    def read_stream(self, cursor):
        """Reads events until the stream ends; the cursor of the last one."""
        client = HTTPClient.from_url(
            self.host,
            connection_timeout=self.connection_timeout,
            network_timeout=self.network_timeout,
            insecure=True,
        )
        follower, following = self.followers["stream"], cursor
        try:
            query = f"?parts={PARTS}" + (f"&cursor={quote(cursor)}" if cursor else "")
            headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
            answer = client.get(f"/api/updates/stream{query}", headers=headers)
            if answer.status_code != 200:
                raise ValueError(f"{answer.status_code} instead of 200")
            while not self.leaves and (line := answer.readline(b"\n")):
                asked_at, messages = time.monotonic(), []
                if line.startswith(b"id:"):
                    following = line[3:].strip().decode()
                elif line.startswith(b"data:"):
                    messages, cursor = json.loads(line[5:]).get("messages", []), following
                elif line.startswith(b"event: reset"):
                    return None
                follower.told(messages, asked_at)
        finally:
            client.close()
        return cursor

    def on_stop(self):
        """Waits until every tab was told everything, or has missed it."""
        super().on_stop()
        until = time.monotonic() + LAST_LOOK_SECONDS_MAX
        followers = self.followers.values() if self.tabs else ()
        while any(follower.is_behind() for follower in followers) and time.monotonic() < until:
            gevent.sleep(0.2)
            # Takes over what is in the ledger by now, and judges nothing.
            for follower in followers:
                follower.check(0)
        for follower in followers:
            follower.check(time.monotonic())
        self.leaves = True
        gevent.killall(self.tabs)


class Expert(Participant):
    """Watches the queue, claims those who wait, answers them, and resolves.

    Weight 1 to four askers; several conversations at a time, an answer every ten seconds or so over all of them.
    """

    weight = 1
    TALKS_MAX = 5
    ANSWERS = 4

    def on_start(self):
        """At work on nothing yet."""
        super().on_start()
        self.at_work: dict[str, tuple[Talk, int]] = {}

    @tag("helpdesk", "poll", "expert")
    @task
    def look(self):
        """Asks what is new; then claims somebody, or answers."""
        if not self.token and not self.sign_in(self.name):
            return
        self.poll()
        known = [one for one in self.waiting if one["id"] in LEDGER.talks]
        if known and len(self.at_work) < self.TALKS_MAX:
            self.claim(random.choice(known[:5]))
        elif self.at_work and random.random() < 0.5:
            self.answer(*random.choice(list(self.at_work.values())))

    def claim(self, conversation: dict):
        """Experts race: who comes too late (422) goes on to the next. It is told what is posted from then on."""
        path = f"/expert/conversations/{conversation['id']}/claim"
        status, _ = self.call("POST", path, (200, 404, 422), name="/expert/conversations/[id]/claim")
        self.waiting = [one for one in self.waiting if one["id"] != conversation["id"]]
        talk = LEDGER.talks.get(conversation["id"])
        if status == 200 and talk:
            self.take_part(conversation, talk, time.monotonic())
            self.at_work[talk.id] = (talk, 0)
            self.write(talk, "Have you tried turning it off and on again?")

    def answer(self, talk: Talk, answers: int):
        """Answers; the last answer is the solution."""
        self.write(talk, "Which colour is the light?")
        self.at_work[talk.id] = (talk, answers + 1)
        if answers + 1 >= self.ANSWERS:
            del self.at_work[talk.id]
            talk.over = True
            LEDGER.forget(talk)
            path = f"/expert/conversations/{talk.id}/resolve"
            self.call("POST", path, 200, name="/expert/conversations/[id]/resolve")


class ActiveUser(Person):
    """Comes back, asks, reads, and helps others as an expert: all that the API has, at random.

    Weight 3 and 1 to 5 s, as in the load tests that the contract comes from: somebody who clicks. Experts race for the
    conversations that wait: a claim may come too late (422), and what was claimed may be somebody else's by now (403,
    404). Conversations of the ledger are left alone.
    """

    weight = 3
    wait_time = between(1, 5)

    def on_start(self):
        """Comes back under a name that has an account; who is refused tries again."""
        while not self.sign_in(a_known_name()):
            self.wait()

    def conversations(self):
        """The person's own ones, as asker and as expert."""
        _, conversations = self.call("GET", "/conversations", 200, unlike=not_a_list)
        return [one for one in conversations or [] if not one["title"].startswith(TITLE)]

    def waiting(self):
        """Those who wait and are not in a ledger."""
        _, queue = self.call("GET", "/expert/queue", 200)
        waiting = queue["waitingConversations"] if queue else []
        return [one for one in waiting if not one["title"].startswith(TITLE)]

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
        waiting = self.waiting()
        if not waiting:
            return
        conversation_id = random.choice(waiting)["id"]
        # Experts read before they claim; by then somebody else may have claimed it.
        self.call("GET", f"/conversations/{conversation_id}", (200, 404), name="/conversations/[id]")
        path = f"/expert/conversations/{conversation_id}"
        status, _ = self.call("POST", f"{path}/claim", (200, 404, 422), name="/expert/conversations/[id]/claim")
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
        waiting = self.waiting()
        if not waiting:
            return
        path = f"/expert/conversations/{random.choice(waiting)['id']}/claim"
        self.call("POST", path, (200, 404, 422), name="/expert/conversations/[id]/claim")
        self.on_start()

    @tag("helpdesk", "expert")
    @task(1)
    def look_at_own_work(self):
        """What an expert has done, and how others see them."""
        self.call("GET", "/expert/assignments/history", 200, unlike=not_a_list)
        self.call("GET", "/expert/profile", 200)
