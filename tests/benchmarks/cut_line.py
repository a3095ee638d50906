"""An API process that can be killed, and a line to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

PATIENCE_S = 60.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset and drops what is on its way
_PIECE_BYTES = 256 * 1024


class Api:
    """`python -m api.serve` on a socket that outlives it."""

    def __init__(self, data_folder: Path, database_url: str) -> None:
        self.data_folder = data_folder
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.kills, self.peak_rss_mib = 0, 0.0
        self._environment = os.environ | {
            "PGD_DATA_FOLDER": str(data_folder),
            "PGD_DATABASE_URL": database_url,
            "PGD_MAX_UPLOAD_BYTES": str(2**40),
            "PGD_MAX_UNFINISHED_BYTES": str(2**41),
        }
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        number = self.listener.fileno()
        with (self.data_folder / "api.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "api.serve", str(number)],
                env=self._environment,
                stdout=log,
                stderr=log,
                pass_fds=(number,),
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                url = f"http://127.0.0.1:{self.port}/livez"
                if httpx.get(url, trust_env=False, timeout=PATIENCE_S).is_success:
                    return process
            assert time.monotonic() < deadline, "the API did not start"

    def kill(self) -> None:
        """SIGKILL, and another one is started."""
        self._measure()
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._process = self._start()

    def stop(self) -> None:
        self._measure()
        self._process.terminate()
        self._process.wait()
        self.listener.close()

    def _measure(self) -> None:
        """The kernel's own record of the most memory that the process had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        self.peak_rss_mib = max(self.peak_rss_mib, int(found.group(1)) / 1024)


class Line:
    """Carries connections to a port of this machine until it is cut; new ones are carried again."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.cuts, self.up_bytes, self.down_bytes = 0, 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, at both ends, in the middle of whatever it carries."""
        with self._lock:
            found, self._open = self._open, set()
        self.cuts += 1
        for end in found:
            _reset(end)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                try:
                    service = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    _reset(caller)
                    continue
                with self._lock:
                    self._open |= {caller, service}
                for pair in ((caller, service, True), (service, caller, False)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(_PIECE_BYTES):
                target.sendall(content)
                with self._lock:
                    self.up_bytes += len(content) if up else 0
                    self.down_bytes += 0 if up else len(content)
        for end in (source, target):
            _reset(end)
        with self._lock:
            self._open -= {source, target}


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
    end.close()
