"""REST: the App itself, its installations, their tokens, and the log of its webhook deliveries."""

from localhub.payloads import app_json, installation_json, repository_json
from localhub.records import Delivery, Json, Repository
from localhub.refusals import not_found, out_of_reach, unprocessable
from localhub.rest import Answer, Call, Routes
from localhub.state import describe, stamp
from localhub.tokens import mint
from localhub.webhooks import redeliver

routes = Routes()


@routes.on("GET", "/app", "app")
def get_app(call: Call) -> Answer:
    """Return the App that asks."""
    return Answer(app_json(call.state, call.app))


@routes.on("GET", "/apps/{slug}", "open")
def get_app_by_slug(call: Call) -> Answer:
    """Return an App by its name in addresses."""
    app = call.state.app_by_slug(call.params["slug"])
    if app is None:
        raise not_found()
    return Answer(app_json(call.state, app))


@routes.on("GET", "/app/installations", "app")
def list_installations(call: Call) -> Answer:
    """List where the App is installed."""
    mine = [found for found in call.state.installations.values() if found.app is call.app]
    return call.listing(mine, lambda found: installation_json(call.state, found))


@routes.on("GET", "/app/installations/{id}", "app")
def get_installation(call: Call) -> Answer:
    """Return one installation of the App."""
    found = call.state.installations.get(int(call.params["id"]))
    if not found or found.app is not call.app:
        raise not_found()
    return Answer(installation_json(call.state, found))


@routes.on("GET", "/repos/{owner}/{repo}/installation", "app")
def get_repository_installation(call: Call) -> Answer:
    """Return the App's installation on a repository."""
    repository = call.state.repository(f"{call.params['owner']}/{call.params['repo']}")
    found = call.state.installation_on(call.app, repository)
    if not found:
        raise not_found()
    return Answer(installation_json(call.state, found))


@routes.on("POST", "/app/installations/{id}/access_tokens", "app")
def create_token(call: Call) -> Answer:
    """Mint an installation token, narrowed to the repositories and permissions asked for."""
    found = call.state.installations.get(int(call.params["id"]))
    if not found or found.app is not call.app:
        raise not_found()
    permissions = call.json.get("permissions") or {}
    if not isinstance(permissions, dict):
        raise unprocessable('Invalid request.\n\n"permissions" is not an object.')
    chosen = _chosen(call, found.account.login)
    token = mint(call.state, found, chosen, permissions)
    body: Json = {
        "token": token.value,
        "expires_at": stamp(token.expires_at),
        "permissions": token.permissions,
        "repository_selection": "selected",
    }
    if chosen is not None:
        body["repositories"] = [repository_json(call.state, repository) for repository in chosen]
    return Answer(body, 201)


def _chosen(call: Call, account: str) -> list[Repository] | None:
    names, ids = call.json.get("repositories"), call.json.get("repository_ids")
    if not names and not ids:
        return None
    known = call.state.repositories
    by_id = {repository.id: repository for repository in known.values()}
    found = [known.get(f"{account}/{name}".lower()) for name in names or []]
    found += [by_id.get(number) for number in ids or []]
    chosen = [repository for repository in found if repository]
    if len(chosen) != len(found):
        raise out_of_reach()
    return list(dict.fromkeys(chosen))


@routes.on("DELETE", "/installation/token", "installation")
def revoke_token(call: Call) -> Answer:
    """Revoke the token that asks."""
    if call.caller.token:
        call.state.tokens.pop(call.caller.token.value, None)
    return Answer(status=204)


@routes.on("GET", "/installation/repositories", "installation")
def list_repositories(call: Call) -> Answer:
    """List the repositories that the token reaches."""
    token = call.caller.token
    chosen = (
        token.repositories if token and token.repositories is not None else call.installation.repositories
    )
    return call.listing(chosen, lambda found: repository_json(call.state, found), "repositories")


def _delivery_json(delivery: Delivery) -> Json:
    return {
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": stamp(delivery.delivered_at),
        "redelivery": delivery.redelivery,
        "duration": delivery.duration,
        "status": delivery.reason,
        "status_code": delivery.status or 0,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": delivery.installation_id,
        "repository_id": delivery.repository_id,
        "throttled_at": None,
    }


@routes.on("GET", "/app/hook/deliveries", "app")
def list_deliveries(call: Call) -> Answer:
    """List deliveries, newest first, walked by `cursor`; `status` picks successes or failures."""
    size = int(call.query.get("per_page", "30"))
    cursor = call.query.get("cursor", "")
    mine = [d for d in reversed(call.state.deliveries) if d.app is call.app and d.status is not None]
    wanted = call.query.get("status")
    if wanted in ("success", "failure"):
        mine = [d for d in mine if (d.reason == "OK") == (wanted == "success")]
    if cursor:
        number = cursor.removeprefix("v1_")
        if not number.isdigit():
            raise unprocessable("Invalid cursor")
        mine = [delivery for delivery in mine if delivery.id < int(number)]
    chosen = mine[:size]
    headers = {}
    if len(mine) > size:
        rest = describe({"per_page": size, "status": wanted, "cursor": f"v1_{chosen[-1].id}"})
        query = "&".join(f"{key}={value}" for key, value in rest.items())
        headers["Link"] = f'<{call.state.api_url}/app/hook/deliveries?{query}>; rel="next"'
    return Answer([_delivery_json(delivery) for delivery in chosen], headers=headers)


def _delivery(call: Call) -> Delivery:
    number = int(call.params["id"])
    for delivery in call.state.deliveries:
        if delivery.id == number and delivery.app is call.app:
            return delivery
    raise not_found()


@routes.on("GET", "/app/hook/deliveries/{id}", "app")
def get_delivery(call: Call) -> Answer:
    """Return one delivery with what was sent and what came back."""
    found = _delivery(call)
    request = {"headers": found.headers, "payload": found.body}
    response = {"headers": found.response_headers, "payload": found.response_body}
    return Answer(
        _delivery_json(found) | {"url": found.app.webhook_url, "request": request, "response": response}
    )


@routes.on("POST", "/app/hook/deliveries/{id}/attempts", "app")
def redeliver_delivery(call: Call) -> Answer:
    """Send a delivery once more under its GUID."""
    redeliver(call.state, _delivery(call))
    return Answer({}, 202)


@routes.on("GET", "/app/hook/config", "app")
def get_hook_config(call: Call) -> Answer:
    """Return where the App's webhooks go; the secret is masked."""
    return Answer(
        {"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": call.app.webhook_url}
    )


@routes.on("GET", "/rate_limit", "open")
def get_rate_limit(call: Call) -> Answer:
    """Return the limits; asking is free."""
    reset = int(call.state.now().timestamp()) + 3600
    limit = {"limit": 5000, "used": 0, "remaining": 5000, "reset": reset}
    return Answer({"resources": {"core": limit, "search": limit, "graphql": limit}, "rate": limit})


@routes.on("GET", "/meta", "open")
def get_meta(call: Call) -> Answer:
    """Return what an Enterprise server says of itself."""
    return Answer(
        {"verifiable_password_authentication": False, "installed_version": "3.21.0", "hooks": ["127.0.0.0/8"]}
    )


@routes.on("GET", "/versions", "open")
def get_versions(call: Call) -> Answer:
    """Return the API versions that are understood."""
    return Answer(["2022-11-28", "2026-03-10"])
