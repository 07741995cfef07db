"""The HTTP side: the Messages API on a loopback port, with an early close or reset seen at once."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from localmodel.catalogue import MODELS, describe
from localmodel.faults import Pause
from localmodel.model import Answer, Model
from localmodel.streaming import Event

_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER 0: closing sends a reset


@dataclass(frozen=True)
class Server:
    """A server that listens; `url` is what ANTHROPIC_BASE_URL takes."""

    url: str


class _Listener(uvicorn.Server):
    """A uvicorn server that starts and stops within milliseconds, whatever streams are open."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self.listening.set()
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)

    def stop(self) -> None:
        """Stop listening and drop every connection; may be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def reset(self, client: tuple[str, int]) -> None:
        """Reset the connection of that client address."""
        for connection in list(self.server_state.connections):
            if connection.transport.get_extra_info("peername")[:2] == client:
                raw = connection.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                connection.transport.abort()


@contextmanager
def serve(model: Model, port: int = 0, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve a model in a thread of its own while the block runs; port 0 takes a free one."""
    # Only a socket that names its protocol gets TCP_NODELAY from asyncio; without it each answer waits 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        listener = _Listener(
            uvicorn.Config(
                lambda: None,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_keep_alive=60,
            )
        )
        listener.config.app = _application(model, listener)
        thread = threading.Thread(target=listener.run, args=([bound],), name="localmodel", daemon=True)
        thread.start()
        listener.listening.wait()
        try:
            yield Server(f"http://{host}:{bound.getsockname()[1]}")
        finally:
            listener.stop()
            thread.join()


def _application(model: Model, listener: _Listener) -> Starlette:
    def requests(_: HttpRequest) -> Response:
        return JSONResponse([request.summary() for request in model.requests])

    async def inject(request: HttpRequest) -> Response:
        try:
            fields = json.loads(await request.body())
            model.inject(fields.pop("kind"), **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return Response(status_code=204)

    def models(_: HttpRequest) -> Response:
        data = [describe(spec) for spec in MODELS.values()]
        page = {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return JSONResponse(page)

    def one_model(request: HttpRequest) -> Response:
        name = request.path_params["name"]
        if name not in MODELS:
            error = {"type": "not_found_error", "message": f"model: {name}"}
            return JSONResponse({"type": "error", "error": error}, 404)
        return JSONResponse(describe(MODELS[name]))

    return Starlette(
        routes=[
            Route("/v1/messages", _Messages(model, listener), methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name}", one_model),
            Route("/_requests", requests),
            Route("/_inject", inject, methods=["POST"]),
        ]
    )


class _Messages:
    """The endpoint: answers errors as documents and replies as streams."""

    def __init__(self, model: Model, listener: _Listener) -> None:
        self._model = model
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        answer = self._model.answer(await http.body(), http.headers)
        if isinstance(answer.document, str) and answer.document:
            await HTMLResponse(answer.document, answer.status)(scope, receive, send)
        elif answer.document:
            await JSONResponse(answer.document, answer.status, answer.headers)(scope, receive, send)
        else:
            await self._stream(answer, scope, receive, send)

    async def _stream(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the steps, until they end or the client has gone."""
        self._model.open_streams += 1
        sending = asyncio.create_task(self._send(answer, scope, send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                answer.request.closed_at = time.time()
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            self._model.open_streams -= 1

    async def _send(self, answer: Answer, scope: Scope, send: Send) -> None:
        await asyncio.sleep(answer.delay)
        while answer.request.conversation in self._model.silent:
            await asyncio.sleep(0.02)
        headers = {
            **answer.headers,
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        for step in answer.stream:
            if isinstance(step, Event):
                await asyncio.sleep(answer.between if step.name == "content_block_delta" else 0)
                await send({"type": "http.response.body", "body": step.encode(), "more_body": True})
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                await asyncio.sleep(0.02)  # what was sent is read before the reset arrives
                self._listener.reset(scope["client"])
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
