"""Makes `tests.servers` importable however pytest is started; one thread a process."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# The nets are tiny and several processes run at once: more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Keys that are kept, and that `pgd up` offers, shall not be this user's.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="pgd-config-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)
os.environ.pop("PGD_API_KEY", None)

_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)


@pytest.fixture(scope="session")
def s3_server():
    """A running server that speaks S3; `bucket` makes a new one for a test."""
    from tests.servers import run_s3_server

    with run_s3_server() as server:
        yield server
