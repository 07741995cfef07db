"""Registering an App from its manifest: the page's part, and the exchange of the code for the keys."""

import json
import re
import secrets

from localhub.payloads import app_json
from localhub.records import App
from localhub.refusals import not_found, unprocessable
from localhub.rest import Answer, Call, Routes
from localhub.state import State

routes = Routes()


def register(state: State, text: str) -> tuple[str, str]:
    """Make the App of a manifest; returns the code for its keys and where the browser goes."""
    try:
        manifest = json.loads(text)
        name, back = manifest["name"], manifest["redirect_url"]
    except (ValueError, KeyError, TypeError) as error:
        raise unprocessable("The manifest needs a name and a redirect_url") from error
    slug = re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")
    if state.app_by_slug(slug):
        raise unprocessable("Name is already taken")
    url = (manifest.get("hook_attributes") or {}).get("url", "")
    permissions, events = manifest.get("default_permissions") or {}, manifest.get("default_events") or []
    code = secrets.token_hex(20)
    state.manifests[code] = state.make_app(slug, permissions, events, url, secrets.token_hex(20))
    return code, str(back)


@routes.on("POST", "/app-manifests/{code}/conversions", "open")
def convert(call: Call) -> Answer:
    """Hand out the keys of a registered App, once."""
    app: App | None = call.state.manifests.pop(call.params["code"], None)
    if not app:
        raise not_found()
    keys = {
        "client_secret": secrets.token_hex(20),
        "webhook_secret": app.webhook_secret,
        "pem": app.private_key,
    }
    return Answer(app_json(call.state, app) | keys, 201)
