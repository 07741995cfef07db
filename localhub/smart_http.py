"""Git over HTTP: `git http-backend` behind a small ASGI bridge, with the same tokens as the REST API."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from localhub import refs
from localhub.objects import RefUpdate, git_environment
from localhub.records import Actor, Repository
from localhub.refusals import Refusal
from localhub.state import State
from localhub.tokens import NOBODY, Caller, identify

CHUNK = 65_536

Finish = Callable[[], Awaitable[None]]

# Rules that REST keeps in Python must hold for pushes too; the hooks get what they need from the environment.
PRE_RECEIVE = """#!/bin/sh
zero=0000000000000000000000000000000000000000
set -f
while read -r old new ref; do
  if [ "$new" = "$zero" ]; then
    [ "$ref" = "$LOCALHUB_DEFAULT" ] && { echo "refusing to delete the current branch: $ref"; exit 1; }
    continue
  fi
  if [ -n "$LOCALHUB_NO_WORKFLOWS" ]; then
    path=$(git log --format= --name-only -m "$new" --not --all -- .github/workflows | grep . | head -n 1)
    if [ -n "$path" ]; then
      printf 'refusing to allow a GitHub App to create or update workflow `%s` ' "$path"
      echo 'without `workflows` permission'
      exit 1
    fi
  fi
  [ "$old" = "$zero" ] && continue
  for pattern in $LOCALHUB_NO_FORCE; do
    case "${ref#refs/heads/}" in
      $pattern)
        git merge-base --is-ancestor "$old" "$new" && continue
        echo "GH013: Repository rule violations found for $ref. Cannot force-push to this branch"
        exit 1 ;;
    esac
  done
done >&2
"""
POST_RECEIVE = """#!/bin/sh
cat >> "$LOCALHUB_RECEIVED"
"""


def install_hooks(path: Path) -> None:
    """Put the hooks into a bare repository that guard pushes and write down what was pushed."""
    folder = path / "hooks"
    folder.mkdir(exist_ok=True)
    for name, text in (("pre-receive", PRE_RECEIVE), ("post-receive", POST_RECEIVE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def _admit(state: State, full_name: str, authorization: str, writes: bool) -> tuple[Repository, Caller]:
    """Return the repository and who asks; raises Refusal, 401 where credentials would help."""
    caller = identify(state, authorization)
    if caller.by_jwt:
        raise Refusal(401, "Bad credentials")
    repository = state.repositories.get(full_name.lower())
    if not repository or not caller.sees(repository):
        raise Refusal(401 if caller is NOBODY else 404, "Repository not found.")
    if caller is NOBODY and writes:
        raise Refusal(401, "Authentication required.")
    if not caller.may(repository, "contents", "write" if writes else "read"):
        verb = "Permission to" if writes else "Read access to"
        raise Refusal(403, f"{verb} {repository.full_name}.git denied to {caller.name}.")
    return repository, caller


def _environment(
    scope: Scope, headers: dict[str, str], repository: Repository, caller: Caller, tail: str
) -> dict[str, str]:
    variables = {
        "GIT_PROJECT_ROOT": str(repository.objects.path),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": "/" + tail,
        "REQUEST_METHOD": str(scope["method"]),
        "QUERY_STRING": scope["query_string"].decode(),
        "CONTENT_TYPE": headers.get("content-type", ""),
        "REMOTE_USER": caller.name,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GIT_COMMITTER_NAME": caller.name or "anonymous",
        "GIT_COMMITTER_EMAIL": "noreply@localhub.invalid",
        "LOCALHUB_DEFAULT": f"refs/heads/{repository.default_branch}",
        "LOCALHUB_NO_FORCE": " ".join(repository.no_force),
    }
    for header, name in (
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ):
        if header in headers:
            variables[name] = headers[header]
    if caller.token and caller.token.permissions.get("workflows") != "write":
        variables["LOCALHUB_NO_WORKFLOWS"] = "1"
    return git_environment(variables)


async def answer(
    state: State, full_name: str, tail: str, scope: Scope, receive: Receive, send: Send
) -> tuple[int, str]:
    """Serve one Git request; returns the status and who asked."""
    headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
    writes = tail.endswith("git-receive-pack") or b"service=git-receive-pack" in scope["query_string"]
    caller = NOBODY
    try:
        with state.lock:
            repository, caller = _admit(state, full_name, headers.get("authorization", ""), writes)
    except Refusal as refusal:
        extra = {"WWW-Authenticate": 'Basic realm="GitHub"'} if refusal.status == 401 else {}
        await PlainTextResponse(refusal.message + "\n", refusal.status, extra)(scope, receive, send)
        return refusal.status, caller.name
    environment = _environment(scope, headers, repository, caller, tail)
    handle, received = tempfile.mkstemp(prefix="localhub-push-")
    os.close(handle)
    try:
        environment["LOCALHUB_RECEIVED"] = received

        async def finish() -> None:
            if writes:
                await run_in_threadpool(_announce, state, repository, caller, Path(received))

        status = await _run(environment, receive, send, finish)
    finally:
        Path(received).unlink()
    return status, caller.name


def _announce(state: State, repository: Repository, caller: Caller, received: Path) -> None:
    lines = [line.split(" ", 2) for line in received.read_text().splitlines()]
    updates = [RefUpdate(ref, old, new) for old, new, ref in lines]
    if updates:
        with state.lock:
            actor: Actor = caller.actor
            refs.announce(state, repository, updates, actor)


async def _run(environment: dict[str, str], receive: Receive, send: Send, finish: Finish) -> int:
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        limit=CHUNK * 4,
    )
    assert process.stdin
    assert process.stdout
    feeding = asyncio.create_task(_feed(process.stdin, receive))
    try:
        return await _relay(process.stdout, send, finish)
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
        if process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 30)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _feed(pipe: asyncio.StreamWriter, receive: Receive) -> None:
    """Pass the request's body on as it comes, waiting while the pipe is full."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            if message.get("body"):
                pipe.write(message["body"])
                await pipe.drain()
            if not message.get("more_body"):
                break
        pipe.close()
        await pipe.wait_closed()


async def _relay(pipe: asyncio.StreamReader, send: Send, finish: Finish) -> int:
    """Turn the CGI answer into an HTTP answer, its body in chunks; returns the status."""
    status, headers = 200, []
    while line := (await pipe.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        else:
            headers.append((name.lower(), value.strip()))
    if not headers:
        status, headers = 500, [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while chunk := await pipe.read(CHUNK):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    # Who pushed must find the events queued and the pull requests moved when git returns.
    await finish()
    await send({"type": "http.response.body", "body": b""})
    return status
