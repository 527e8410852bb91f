"""hyperdesk beside what one would write instead (benches/peers), in one run."""

import http.client
import os
import shutil
from pathlib import Path

from . import rates, report
from .desk import Desk
from .processes import PROJECT, Started, Yard, free_port, pids_of
from .samples import resident_mb

NGINX = """
worker_processes 1;
daemon off;
pid {out}/nginx.pid;
error_log {out}/nginx.err;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {out}/tmp1; proxy_temp_path {out}/tmp2; fastcgi_temp_path {out}/tmp3;
    uwsgi_temp_path {out}/tmp4; scgi_temp_path {out}/tmp5;
    server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '[]'; }} }}
}}
"""
# Where each begins: the slow ones would spend the whole time saturated.
FIRST = {"hyperdesk": 2_000, "axum + sqlx": 300, "Rails + Puma": 20, "nginx, a constant": 4_000}

# Whose memory is measured, and those before: what a server has taken at its start serves the first clients.
CLIENTS, CLIENTS_BEFORE = 1_000, 2_500


def kept_clients(server: Started, lines: list[str], count: int) -> list[http.client.HTTPConnection]:
    """Connections that are open after a poll each."""
    clients = []
    for number in range(count):
        method, path, token = lines[number % len(lines)].split(" ")
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        client.request(method, path, headers={"Authorization": f"Bearer {token}"})
        client.getresponse().read()
        clients.append(client)
    return clients


def kb_per_client(server: Started, lines: list[str]) -> float:
    """Resident memory that a connection takes which is kept between polls."""
    first = kept_clients(server, lines, CLIENTS_BEFORE)
    before = resident_mb(pids_of(server.pid))
    clients = kept_clients(server, lines, CLIENTS)
    more = resident_mb(pids_of(server.pid)) - before
    for client in first + clients:
        client.close()
    return more * 1_000 / CLIENTS


def start(name: str, yard: Yard, out: Path, options):
    """One of them, or None where it is not installed."""
    port = free_port()
    if name == "hyperdesk":
        return yard.hyperdesk(loops=1, percent=options.percent)
    if name == "axum + sqlx":
        program = os.environ.get("PEER_AXUM", "none")
        if program == "none":
            return None
        return yard.start("axum", [program], port, PORT=port, WEB_CONCURRENCY=1, percent=options.percent)
    if name == "Rails + Puma":
        if not (shutil.which("puma") and os.environ.get("PEER_RAILS")):
            return None
        command = ["puma", "--config", str(PROJECT / "benches/peers/rails/puma.rb")]
        own = {"PORT": port, "RAILS_ENV": "production", "WEB_CONCURRENCY": 0}
        return yard.start("rails", command, port, percent=options.percent, **own)
    if not shutil.which("nginx"):
        return None
    configuration = out / "nginx.conf"
    configuration.write_text(NGINX.format(port=port, out=out))
    return yard.start(
        "nginx", ["nginx", "-e", str(out / "nginx.err"), "-c", str(configuration)], port, percent=options.percent
    )


def run(yard: Yard, out: Path, options) -> int:
    """Polls at fixed rates, one after the other; then the same with posts only."""
    for kind, share in (("polls", 0.0), ("posts", 1.0)):
        groups, hold = {}, []
        for name, first in FIRST.items():
            if share and name.startswith("nginx"):
                continue
            desk, requests = Desk(), out / "requests.txt"
            requests.write_text(desk.requests(share))
            server = start(name, yard, out, options)
            if server is None:
                print(f"  {name}: not installed, left out (benches/peers/README.md)", flush=True)
                continue
            begin = first if not share else min(first, 100)
            groups[name] = rates.measure(name, server.port, [server], requests, options, begin, hold)
            yard.stop()
            requests.unlink()
        folder = out / kind
        folder.mkdir(exist_ok=True)
        what = f"{'idle polls' if not share else 'POST /messages'} at fixed rates, {options.seconds:g} s each"
        facts = rates.facts_of("peers", what, options, options.configuration)
        rates.write(folder, f"hyperdesk and its peers: {kind}", facts, groups, options)
    return 0


def memory(yard: Yard, out: Path, options) -> int:
    """What a connection takes that is kept between polls, by each of them."""
    rows = []
    for name in FIRST:
        lines = Desk().requests(0).splitlines()
        server = start(name, yard, out, options)
        if server is None:
            print(f"  {name}: not installed, left out (benches/peers/README.md)", flush=True)
            continue
        rows.append({"what": name, "KB of resident memory": kb_per_client(server, lines)})
        print(f"  {name}: {rows[-1]['KB of resident memory']:.1f} KB", flush=True)
        yard.stop()
    what = f"{CLIENTS} connections that are kept after a poll each, beside {CLIENTS_BEFORE} others"
    facts = rates.facts_of("memory", what, options, options.configuration)
    report.write_json(out / "result.json", {"facts": facts, "memory": rows})
    report.write_summary(out / "summary.md", "Memory of a kept connection", facts, rows, "")
    return 0
