"""Which API key a client sends, where it was not given one.

1. PGD_API_KEY.
2. What `pgd login URL` keeps in ~/.config/pgd/credentials.json, by the service's address.
3. For a service of this machine: the key of the `pgd up` that serves this port. While it runs,
   ~/.config/pgd/local/PORT leads to the `local.key` of its data folder.

All of it is readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx

HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})


def find_key(url: httpx.URL) -> str | None:
    """The key for the service at `url`, or none."""
    given = os.environ.get("PGD_API_KEY") or _kept().get(_address(url))
    return given or (_of_this_machine(url.port) if url.host in HERE else None)


def keep_key(url: httpx.URL, secret: str) -> Path:
    """Keep the key for the service at `url`; where."""
    path = _credentials()
    _private_folder(path.parent)
    write_private(path, json.dumps(_kept() | {_address(url): secret}, indent=2) + "\n")
    return path


@contextlib.contextmanager
def offered(port: int, key_file: Path) -> Iterator[None]:
    """This user's clients find the key of the service on this port; OSError where they cannot."""
    link = _local(port)
    _private_folder(link.parent)
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(key_file)
    new.replace(link)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if link.readlink() == key_file:  # else another one serves the port by now
                link.unlink()


def config_folder() -> Path:
    """Where this user's settings of ours lie."""
    config = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(config) if config else Path.home() / ".config") / "pgd"


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read, whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _credentials() -> Path:
    return config_folder() / "credentials.json"


def _local(port: int) -> Path:
    return config_folder() / "local" / str(port)


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _address(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _kept() -> dict[str, str]:
    try:
        content = json.loads(_credentials().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OSError(f"{_credentials()} is not JSON; mend it, or delete it and log in") from error
    return {str(address): str(secret) for address, secret in content.items()}


def _of_this_machine(port: int | None) -> str | None:
    try:
        return _local(port or 80).read_text(encoding="utf-8").strip()
    except FileNotFoundError:  # no `pgd up` of this user serves the port
        return None
