"""`python -m api.serve`: the API as a process, set up by `PGD_` variables.

It listens on `PGD_HOST` and `PGD_PORT`. With a file descriptor as argument it serves that listening
socket instead, which survives a restart.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from api.logs import configure_logs
from api.main import create_app
from pgd_core.settings import Settings


class Server(uvicorn.Server):
    """Ends streams when it shall stop: it waits for answers that are under way."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, after the streams."""
        self._end_streams()
        await super().shutdown(sockets)


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM; then end with 0."""
    signal.signal(signal.SIGTERM, _end)
    configure_logs()
    settings = Settings()
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    sockets = [socket.socket(fileno=int(arguments[0]))] if arguments else None
    Server(config, app.state.services.live.close).run(sockets=sockets)


def _end(_number: int, _frame: FrameType | None) -> None:
    # While it serves, uvicorn's own handler stops it in order; it then raises the signal again,
    # which without this would end the process as if it had been killed.
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
