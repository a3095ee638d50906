"""The sender against real HTTP servers: good ones, and some that are not."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import sys
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from pgd_core.jobs.webhooks import fault_of_url, may_connect
from pgd_core.store import SqlWebhookStore
from tests.worker.conftest import wait_for
from worker.webhooks import Reach, WebhookSender

LOCAL = Reach(http=True, networks=(ipaddress.ip_network("127.0.0.0/8"),))


class Receiver:
    """An HTTP server that writes down what it is sent, and answers from a list of statuses."""

    def __init__(self, *statuses, location=None):
        self.statuses, self.got = list(statuses), []
        self.go_on = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == "hang":
                    receiver.go_on.wait(60)
                    return
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    with contextlib.ExitStack() as stack:

        def start(*statuses, **options):
            made = Receiver(*statuses, **options)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def store(world):
    return SqlWebhookStore(world.engine)


@contextlib.contextmanager
def sending(store, reach=LOCAL, tries=3, **options):
    """A sender at work that waits for nothing between tries."""
    stop = threading.Event()
    again = lambda number: timedelta(0) if number < tries else None  # noqa: E731
    sender = WebhookSender(store, reach, round_s=0.01, again_in=again, **options)
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def ended(store, webhook_id, number=1):
    return wait_for(
        lambda: (
            found
            if len(found := [d for d in store.deliveries(webhook_id) if d.ended_at]) == number
            else None
        )
    )


def test_an_event_arrives_signed_as_the_standard_says(world, store, receiver):
    there = receiver()
    webhook, secret = store.add("default", there.url, ("submitted",), by="mira")
    job = world.submit("succeed")

    with sending(store):
        (delivery,) = ended(store, webhook.id)

    ((path, headers, body),) = there.got
    assert (delivery.state, delivery.status, delivery.tries) == ("delivered", 200, 1)
    assert path == "/hook?a=1"
    assert headers["Host"] == f"127.0.0.1:{there.server.server_port}"
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == f"msg_{delivery.id}"
    told = Verifier(secret).verify(body, headers)
    assert (told["type"], told["data"]["job_id"]) == ("job.submitted", job.id)
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(body.replace(b"submitted", b"succeeded"), headers)


@pytest.mark.parametrize("module", ["worker.reconciler", "worker.webhook_sender"])
def test_the_process_sends_as_its_settings_allow(world, store, receiver, redis, module):
    there = receiver()
    webhook, _ = store.add("default", there.url, (), by="")
    world.submit("succeed")
    settings = {
        "PGD_DATA_FOLDER": str(world.folder),
        "PGD_REDIS_URL": redis.url,
        "PGD_WEBHOOK_HTTP": "true",
        "PGD_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    }
    process = subprocess.Popen([sys.executable, "-m", module], env=os.environ | settings, cwd="/")
    try:
        assert ended(store, webhook.id)[0].state == "delivered"
    finally:
        process.terminate()
    assert process.wait(30) == 0


def test_a_message_that_met_an_error_comes_again_under_the_same_id(store, receiver):
    there = receiver(500, 503)
    webhook, secret = store.add("default", there.url, (), by="")
    store.test(webhook.id)

    with sending(store):
        (delivery,) = ended(store, webhook.id)

    assert (delivery.state, delivery.tries) == ("delivered", 3)
    assert len({headers["webhook-id"] for _, headers, _ in there.got}) == 1
    assert all(Verifier(secret).verify(body, headers) for _, headers, body in there.got)


def test_a_message_is_given_up_after_so_many_tries(store, receiver):
    there = receiver(500, 500, 500, 500)
    webhook, _ = store.add("default", there.url, (), by="")
    store.test(webhook.id)

    with sending(store):
        (delivery,) = ended(store, webhook.id)

    assert (delivery.state, delivery.tries, delivery.status) == ("failed", 3, 500)
    assert len(there.got) == 3


def test_a_redirect_is_a_failure_and_is_not_followed(store, receiver):
    elsewhere = receiver()
    there = receiver(302, location=elsewhere.url)
    webhook, _ = store.add("default", there.url, (), by="")
    store.test(webhook.id)

    with sending(store, tries=1):
        (delivery,) = ended(store, webhook.id)

    assert (delivery.state, delivery.status) == ("failed", 302)
    assert "redirects are not followed" in delivery.error
    assert elsewhere.got == []


def test_an_endpoint_that_hangs_holds_up_nobody_else(store, receiver):
    deaf, there = receiver("hang", "hang", "hang"), receiver()
    dead, _ = store.add("default", deaf.url, (), by="")
    good, _ = store.add("default", there.url, (), by="")
    for _ in range(20):
        store.test(dead.id)
        store.test(good.id)

    with sending(store, try_s=60):
        ended(store, good.id, 20)
        assert len(deaf.got) == 1  # it is still being waited for
    assert not any(delivery.ended_at for delivery in store.deliveries(dead.id))


def test_an_endpoint_that_answers_too_late_has_failed(store, receiver):
    deaf = receiver("hang")
    webhook, _ = store.add("default", deaf.url, (), by="")
    store.test(webhook.id)

    with sending(store, tries=1, try_s=0.2):
        (delivery,) = ended(store, webhook.id)

    assert (delivery.state, delivery.error) == ("failed", "no answer within 0.2 s")


def test_nothing_is_sent_to_an_address_that_is_not_public_whatever_name_leads_there(
    store, receiver
):
    there = receiver()
    url = f"http://localhost:{there.server.server_port}/"
    webhook, _ = store.add("default", url, (), by="")
    store.test(webhook.id)

    with sending(store, Reach(http=True), tries=1):
        (delivery,) = ended(store, webhook.id)

    assert (delivery.state, delivery.status) == ("failed", None)
    assert "no public address" in delivery.error
    assert there.got == []


def test_a_name_that_leads_nowhere_and_a_port_that_nobody_serves_are_failures(store):
    nowhere, _ = store.add("default", "http://nowhere.invalid/", (), by="")
    unserved, _ = store.add("default", "http://127.0.0.1:1/", (), by="")
    store.test(nowhere.id)
    store.test(unserved.id)

    with sending(store, tries=1):
        assert ended(store, nowhere.id)[0].state == "failed"
        assert "ConnectError" in ended(store, unserved.id)[0].error


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
    ],
)
def test_only_public_addresses_are_connected_to(address, good):
    assert may_connect(ipaddress.ip_address(address), ()) is good


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://",
        "https://user:password@hooks.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://hooks.example:0/",
        "https://hooks.example:99999/",
        "hooks.example",
        "https://[/",
    ],
)
def test_an_impossible_url_is_found_before_anything_is_sent(url):
    assert fault_of_url(url, http=False, networks=())
    assert fault_of_url("https://hooks.example/x", http=False, networks=()) is None
