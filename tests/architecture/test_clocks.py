"""No decision about a job hangs on a machine's own wall clock, which may be wrong by minutes.

Leases, order and retention go by the database's clock, waiting by the monotonic one. What is left
is listed here, with what it is for.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
READS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
TOLD = "told to people, never compared"
AGES = "the age of files, by margins of an hour or a day"
SAME_MACHINE = "one machine's own times among themselves"
DAYS = "a key's end, which people give by days; whether it has come, the database says"
ALLOWED = {
    "api/key_commands.py": DAYS,
    "api/places.py": TOLD,
    "api/receiving.py": AGES,
    "api/replica.py": TOLD,
    "api/routes/keys.py": DAYS,
    "api/schemas.py": TOLD,
    "api/terminal.py": TOLD,
    "pgd_core/files/cache.py": SAME_MACHINE,
    "pgd_core/files/leftovers.py": AGES,
    "pgd_core/files/local.py": AGES,
    "pgd_core/files/s3.py": AGES,
    "pgd_core/training/artifacts.py": TOLD,
    "pgd_core/training/progress.py": TOLD,
    "worker/health.py": SAME_MACHINE,
    "worker/sweep_files.py": AGES,
    "worker/webhooks.py": "when a message was sent, which its receiver compares with its own clock",
}


def reads_the_wall_clock(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(ast.unparse(function) in READS for function in called)


def test_the_wall_clock_is_read_where_a_wrong_one_does_no_harm() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("api", "worker", "pgd_core")
        for path in (ROOT / folder).rglob("*.py")
        if reads_the_wall_clock(path)
    }
    assert found == set(ALLOWED)
