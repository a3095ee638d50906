"""`python -m api.serve`: the API as a process, set up by `PGD_` variables.

With a file descriptor as argument it serves that listening socket, which survives a restart.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

from api.logs import configure_logs
from api.main import create_app
from pgd_core.settings import Settings


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    configure_logs()
    settings = Settings()
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    sockets = [socket.socket(fileno=int(arguments[0]))] if arguments else None
    uvicorn.Server(config).run(sockets=sockets)


if __name__ == "__main__":
    main(sys.argv[1:])
