"""Installing Apps on repositories, with the events that tell them."""

from collections.abc import Sequence

from localhub.payloads import installation_json, repository_json, user_json
from localhub.records import App, Installation, Json, Repository
from localhub.state import State
from localhub.webhooks import queue

SHORT = ("id", "node_id", "name", "full_name", "private")


def install(state: State, app: App, repositories: Sequence[Repository]) -> Installation:
    """Install an App on repositories of one account, or add them to its installation there."""
    owner = repositories[0].owner
    present = [i for i in state.installations.values() if i.app is app and i.account is owner]
    if present:
        installation = present[0]
        added = [found for found in repositories if found not in installation.repositories]
        installation.repositories += added
        announce(state, installation, "installation_repositories", "added", added)
    else:
        chosen = list(repositories)
        made = (state.next_id(), app, owner, chosen, state.now(), dict(app.permissions))
        installation = Installation(*made)
        state.installations[installation.id] = installation
        announce(state, installation, "installation", "created", chosen)
    return installation


def announce(
    state: State, installation: Installation, event: str, action: str, repositories: Sequence[Repository]
) -> None:
    """Send an `installation` or `installation_repositories` event to the App."""
    if not (installation.app.webhook_url or installation.app.events):
        return
    shown = [repository_json(state, found) for found in repositories]
    rows = [{key: row[key] for key in SHORT} for row in shown]
    body: Json = {
        "action": action,
        "installation": installation_json(state, installation),
        "sender": user_json(state, installation.app.owner),
        "requester": None,
    }
    if event == "installation":
        body["repositories"] = rows
    else:
        added, removed = (rows, []) if action == "added" else ([], rows)
        body |= {
            "repository_selection": "selected",
            "repositories_added": added,
            "repositories_removed": removed,
        }
    queue(state, installation.app, event, action, body, installation)
