"""Opens the workspace of an attempt: the mirror brought up to date, no checkout, earlier edits applied again."""

import asyncio
import contextlib
import shutil
from typing import Any

from bot import store, turns
from bot.errors import Transient, UserError
from bot.parts import Parts
from bot.tables import Attempt, Build, Turn
from bot.tools import CHANGES, change
from bot.workspace import Mirror, Workspace


def mirror_of(parts: Parts, build: Build) -> Mirror:
    """Return the mirror of a build's repository."""
    server = parts.settings.github_server_url.rstrip("/")
    return Mirror(parts.mirror_folder(build.repository_id), f"{server}/{build.repository}.git")


async def bring(parts: Parts, build: Build, commit: str, branch: str) -> Mirror:
    """Have `commit` in the mirror, fetching `branch` where it is not there yet; Transient when it cannot be had."""
    mirror = mirror_of(parts, build)
    if not await asyncio.to_thread(mirror.has, commit):
        token = await parts.repository(build).git_token()
        into = f"refs/builds/{build.id}/{'base' if branch == build.base_branch else 'head'}"
        await asyncio.to_thread(mirror.fetch, f"refs/heads/{branch}", into, token)
        if not await asyncio.to_thread(mirror.has, commit):
            await asyncio.to_thread(mirror.fetch, commit, into, token)
    if not await asyncio.to_thread(mirror.has, commit):
        raise Transient(f"Commit {commit} cannot be fetched.")
    return mirror


async def open_workspace(parts: Parts, build: Build, attempt: Attempt) -> Workspace:
    """Return the attempt's workspace at its base commit, without any edits yet."""
    branch = build.branch if build.head and attempt.base == build.head else build.base_branch
    mirror = await bring(parts, build, attempt.base, branch)
    folder = parts.attempt_folder(attempt.id or 0)
    return await asyncio.to_thread(Workspace, mirror, attempt.base, folder)


async def close_workspace(parts: Parts, workspace: Workspace, attempt: Attempt) -> None:
    """Close a workspace and drop what it wrote: the journal has it all."""
    await asyncio.to_thread(workspace.close)
    await asyncio.to_thread(shutil.rmtree, parts.attempt_folder(attempt.id or 0), ignore_errors=True)


async def apply_earlier(
    parts: Parts, workspace: Workspace, attempt: Attempt
) -> tuple[list[str], tuple[str, ...]]:
    """Apply the edits of the attempts this one follows, oldest first.

    Returns the paths they changed, and the further paths they were granted, which stay granted. Where the base
    moved meanwhile, an edit that no longer fits is left out.
    """
    chain: list[list[Turn]] = []
    follows = attempt.follows
    while follows is not None:
        earlier, turns = await parts.database.ask(_journal, follows)
        chain.append(turns)
        follows = earlier.follows
    for turns in reversed(chain):
        await asyncio.to_thread(_apply, workspace, turns)
    changes = await asyncio.to_thread(workspace.changes) if chain else []
    granted = (path for turns in reversed(chain) for turn in turns for path in _granted(turn))
    return [change.path for change in changes], tuple(dict.fromkeys(granted))


def _granted(turn: Turn) -> list[str]:
    return [given["path"] for name, given in accepted(turn) if name == "request_scope"]


def _journal(db: Any, attempt_id: int) -> tuple[Attempt, list[Turn]]:
    return store.attempt(db, attempt_id), store.turns(db, attempt_id)


def accepted(turn: Turn) -> list[tuple[str, dict[str, Any]]]:
    """Return the tool calls of an answered turn that were not answered with an error: (name, input)."""
    return turns.accepted(turn.reply, turn.results)


def _apply(workspace: Workspace, turns: list[Turn]) -> None:
    """Make the accepted changes again; one that no longer fits is left out, and the model will see the files."""
    for turn in turns:
        for name, given in accepted(turn):
            if name in CHANGES:
                with contextlib.suppress(UserError):
                    change(workspace, name, given)
