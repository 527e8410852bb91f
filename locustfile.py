"""Load on hyperdesk, as people cause it: one class for each kind of person.

    locust -f locustfile.py                              the help desk's, with the web page
    locust -f locustfile.py --headless -u 200 -r 20 -t 60s
    locust -f locustfile.py --headless --shape steps --steps 5 -u 1000 -r 50 -t 10m --max-p99-ms 20
    locust -f locustfile.py HyperstoreUser               another service: name its classes
    locust -f locustfile.py BookBrowser BookBuyer
    locust -f locustfile.py --tags poll                  only the tasks with this tag
    locust -f locustfile.py --class-picker               choose the classes on the web page
    locust -f locustfile.py --headless --processes -1 …  a worker for each core (or --master, --worker)

With no class named only the help desk's run, since the other services may be off and would make every
figure of the help desk a figure of something else. The host is http://localhost:3000 unless --host
says otherwise. `locust --list` shows every class.

HyperstoreUser needs a client that may read and stock; make one and pass it on:

    hyperdesk oauth-client create --scope read,stock
    OAUTH_CLIENT_ID=... OAUTH_CLIENT_SECRET=... locust -f locustfile.py HyperstoreUser

Hundreds of people from one address look like somebody who guesses passwords, and get 429. So start the
server with ADDRESS_ATTEMPTS_MAX=1000000.

What counts as a failure: everything but the expected answer, and a message that somebody was not told,
or twice (lines TOLD of the table). Where people race for one thing (a conversation that another expert
claims first, the last book) losing is an expected answer too. The exit code is 1 when a limit does not
hold: `locust -f locustfile.py --help` has them, under "hyperdesk".

The classes are in deploy/loadtest/people; deploy/loadtest/README.md says why they are as they are, and
deploy/loadtest/run starts a server, a database and this, and draws what came of it.
"""

import sys

from locust import events

from deploy.loadtest.people import limits  # noqa: F401  (its listeners)
from deploy.loadtest.people.desk import ActiveUser, Asker, Expert, IdleUser, NewUser, TabsUser
from deploy.loadtest.people.shops import (
    BoardReader,
    BoardUploader,
    BookBrowser,
    BookBuyer,
    DateTimeUser,
    HyperstoreUser,
)

__all__ = [
    "ActiveUser",
    "Asker",
    "BoardReader",
    "BoardUploader",
    "BookBrowser",
    "BookBuyer",
    "DateTimeUser",
    "Expert",
    "HyperstoreUser",
    "IdleUser",
    "NewUser",
    "TabsUser",
]


@events.init.add_listener
def _clients_are_configured(environment, **_):
    """Says at once what is missing, instead of a thousand users failing one by one."""
    if HyperstoreUser in environment.user_classes and not all(HyperstoreUser.client_credentials):
        sys.exit("HyperstoreUser needs OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET (see locustfile.py)")
