"""The listening socket and the HTTP server on it, without uvicorn's own signals."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from typing_extensions import override

from brainpilot_rt.daemon.connection import protocol
from brainpilot_rt.settings import Settings


class PortTaken(Exception):
    """The address can not be bound; the message says which and why."""


@contextlib.contextmanager
def bound(settings: Settings) -> Generator[socket.socket]:
    """The listening socket; `PortTaken` says who may be in the way."""
    host, port = settings.http.host, settings.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            hint = "; choose another with --port, or 0 for any free one" if port else ""
            raise PortTaken(f"can not listen on {host}:{port}: {reason}{hint}") from None
        listener.set_inheritable(False)
        yield listener
    finally:
        listener.close()


class HttpServer(uvicorn.Server):
    """uvicorn without its signals, and with a way to know that it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals belong to the daemon."""
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()


def uvicorn_config(app: Any) -> uvicorn.Config:
    """How the server runs: no access log, lifespan or websockets, bounded patience at the end.

    Of a stranger's garbage not a line is logged: it could fill the log.
    """
    return uvicorn.Config(
        app,
        http=protocol(),
        ws="none",
        proxy_headers=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
