"""Webhooks: which App hears of an event, the signed request, and the thread that sends them in order."""

import hashlib
import hmac
import json
import random
import ssl
import threading
import time
import uuid
from functools import cache

import httpx

from localhub.payloads import repository_json, user_json
from localhub.records import Actor, App, Delivery, Installation, Json, Repository
from localhub.state import State, node_id

NEEDED = {
    "issues": ("issues",),
    "issue_comment": ("issues", "pull_requests"),
    "push": ("contents",),
    "pull_request": ("pull_requests",),
    "pull_request_review": ("pull_requests",),
    "check_run": ("checks",),
    "check_suite": ("checks",),
    "status": ("statuses",),
    "workflow_run": ("actions",),
}


def hears(installation: Installation, event: str) -> bool:
    """Whether an App gets an event: subscribed and permitted, or owner of checks, who cannot opt out."""
    app = installation.app
    if not app.events and not app.webhook_url:
        return False
    if event in ("installation", "installation_repositories"):
        return True
    held = installation.permissions
    if event in ("check_run", "check_suite") and held.get("checks") == "write":
        return True
    permitted = any(name in held for name in NEEDED.get(event, ("metadata",)))
    return event in app.events and permitted


def emit(
    state: State,
    repository: Repository,
    event: str,
    action: str | None,
    content: Json,
    actor: Actor,
    only: App | None = None,
) -> None:
    """Queue an event for every installed App that hears it, or for `only` one."""
    hearing = [i for i in state.installed_on(repository) if hears(i, event) and only in (None, i.app)]
    if not hearing:
        return
    common: Json = {"action": action} if action else {}
    common |= content | {
        "repository": repository_json(state, repository),
        "sender": user_json(state, actor.user),
    }
    for installation in hearing:
        mine = {"installation": {"id": installation.id, "node_id": node_id("I", installation.id)}}
        queue(state, installation.app, event, action, common | mine, installation, repository)


def queue(
    state: State,
    app: App,
    event: str,
    action: str | None,
    body: Json,
    installation: Installation | None = None,
    repository: Repository | None = None,
) -> Delivery:
    """Queue one delivery for one App."""
    raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    delivery = Delivery(
        id=state.next_id(),
        guid=str(uuid.uuid4()),
        event=event,
        action=action,
        app=app,
        installation_id=installation.id if installation else None,
        repository_id=repository.id if repository else None,
        body=body,
        raw=raw,
        delivered_at=state.now(),
    )
    return _enqueue(state, delivery)


def redeliver(state: State, old: Delivery) -> Delivery:
    """Queue a delivery once more under the same GUID, signed with the App's present secret."""
    again = Delivery(
        id=state.next_id(),
        guid=old.guid,
        event=old.event,
        action=old.action,
        app=old.app,
        installation_id=old.installation_id,
        repository_id=old.repository_id,
        body=old.body,
        raw=old.raw,
        delivered_at=state.now(),
        redelivery=True,
    )
    return _enqueue(state, again)


def _enqueue(state: State, delivery: Delivery) -> Delivery:
    delivery.headers = _headers(delivery)
    state.deliveries.append(delivery)
    if delivery.app.webhook_url:
        state.outbox.append(delivery)
        state.wake()
    else:
        delivery.reason, delivery.done = "no webhook URL", True
    return delivery


def _headers(delivery: Delivery) -> dict[str, str]:
    app = delivery.app
    headers = {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/10ca1b0",
        "X-GitHub-Delivery": delivery.guid,
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Hook-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-Type": "integration",
    }
    if app.webhook_secret:
        key = app.webhook_secret.encode()
        headers["X-Hub-Signature"] = "sha1=" + hmac.new(key, delivery.raw, hashlib.sha1).hexdigest()
        headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(key, delivery.raw, hashlib.sha256).hexdigest()
    return headers


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class Sender:
    """The background thread that posts queued deliveries one after the other."""

    def __init__(self, state: State, timeout: float = 10) -> None:
        self._state = state
        self._timeout = timeout
        self._due = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._busy = False

    def wake(self) -> None:
        """Tell the thread that something is queued; starts it the first time."""
        with self._due:
            if self._closing:
                return
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="localhub-webhooks", daemon=True)
                self._thread.start()
            self._due.notify_all()

    @property
    def idle(self) -> bool:
        """Whether everything queued has been sent."""
        with self._due:
            return not self._busy and not self._state.outbox

    def close(self) -> None:
        """Stop sending; what is still queued stays unsent."""
        with self._due:
            self._closing = True
            self._due.notify_all()
        if self._thread:
            self._thread.join(self._timeout)

    def _run(self) -> None:
        with httpx.Client(verify=_tls(), timeout=self._timeout, trust_env=False) as client:
            while True:
                with self._due:
                    self._busy = False
                    self._due.wait_for(lambda: self._closing or bool(self._state.outbox))
                    if self._closing:
                        return
                    self._busy = True
                self._send_batch(client)

    def _send_batch(self, client: httpx.Client) -> None:
        faults = self._state.faults
        if faults.shuffle_deliveries:
            time.sleep(0.05)
        batch = [self._state.outbox.popleft() for _ in range(len(self._state.outbox))]
        if faults.shuffle_deliveries:
            random.shuffle(batch)
        for delivery in batch:
            if self._closing:
                return
            if faults.drop_deliveries:
                delivery.status, delivery.reason, delivery.done = 0, "timed out", True
                continue
            self._post(client, delivery)
            if faults.double_deliveries:
                self._post(client, delivery)

    def _post(self, client: httpx.Client, delivery: Delivery) -> None:
        started = time.monotonic()
        try:
            answer = client.post(delivery.app.webhook_url, content=delivery.raw, headers=delivery.headers)
        except httpx.TimeoutException:
            delivery.status, delivery.reason = 0, "timed out"
        except (httpx.HTTPError, httpx.InvalidURL):
            delivery.status, delivery.reason = 502, "failed to connect to host"
        else:
            delivery.status = answer.status_code
            delivery.reason = "OK" if answer.is_success else f"Invalid HTTP Response: {answer.status_code}"
            delivery.response_headers = dict(answer.headers)
            delivery.response_body = answer.text[:10_000]
        delivery.duration = round(time.monotonic() - started, 3)
        delivery.done = True
