"""Children are started again, stopped in order, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from api.processes import MAX_ENDS, Family, GaveUp, Program, birth, last_lines, sweep

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, lambda *_: None); print('up', flush=True)\n"
STUBBORN += "while True: time.sleep(1)"


@pytest.fixture
def family(tmp_path):
    family = Family(tmp_path / "children.json", lambda _: None)
    yield family
    family.stop(lambda: True)


def program(tmp_path, code, name="child", stop_s=15.0):
    command = (sys.executable, "-S", "-c", code)
    return Program(name, command, os.environ, tmp_path / "logs" / f"{name}.log", stop_s)


def wait_until(true, what):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def said_up(tmp_path, name="child"):
    log = tmp_path / "logs" / f"{name}.log"
    wait_until(lambda: log.exists() and "up" in log.read_text(), f"{name} does not start")


def pids(tmp_path):
    return [int(pid) for pid in json.loads((tmp_path / "children.json").read_text())]


def test_what_ended_is_started_again_and_told(tmp_path):
    told = []
    family = Family(tmp_path / "children.json", told.append)
    family.start(program(tmp_path, SLEEPER))
    said_up(tmp_path)
    (first,) = pids(tmp_path)

    os.kill(first, signal.SIGKILL)
    wait_until(lambda: family.look() or told, "nothing is told")

    (second,) = pids(tmp_path)
    assert first != second
    assert "exit code -9" in told[0]
    assert birth(second)
    family.stop(lambda: False)
    assert not birth(second)


def test_what_ends_again_and_again_is_given_up_with_the_end_of_its_log(tmp_path, family):
    family.start(program(tmp_path, "import sys; sys.exit('no such module')", name="worker"))

    def gave_up():
        try:
            family.look()
        except GaveUp as error:
            return error
        return None

    errors = []
    wait_until(lambda: errors.append(gave_up()) or errors[-1], "it is never given up")

    assert f"worker ended {MAX_ENDS} times (exit code 1)" in str(errors[-1])
    assert "no such module" in str(errors[-1])


def test_children_stop_the_other_way_round(tmp_path, family):
    order = tmp_path / "order"
    for name in ("first", "second", "third"):
        code = f"import signal, sys, time\ndef stop(*_):\n  open({str(order)!r}, 'a').write("
        code += f"'{name} '); sys.exit()\nsignal.signal(15, stop)\nprint('up', flush=True)\n"
        family.start(program(tmp_path, code + "time.sleep(600)", name=name))
        said_up(tmp_path, name)

    family.stop(lambda: False)

    assert order.read_text().split() == ["third", "second", "first"]
    assert not (tmp_path / "children.json").exists()


@pytest.mark.parametrize(("stop_s", "hurried"), [(0.1, False), (600.0, True)])
def test_what_will_not_stop_is_killed(tmp_path, family, stop_s, hurried):
    family.start(program(tmp_path, STUBBORN, stop_s=stop_s))
    said_up(tmp_path)
    (pid,) = pids(tmp_path)

    family.stop(lambda: hurried)

    assert not birth(pid)


def test_what_a_child_leaves_in_its_group_is_killed_too(tmp_path, family):
    code = "import subprocess, sys, time\np = subprocess.Popen([sys.executable, '-S', '-c', "
    code += "'import time; time.sleep(600)'])\nprint('up', p.pid, flush=True)\ntime.sleep(600)"
    family.start(program(tmp_path, code))
    said_up(tmp_path)
    grandchild = int((tmp_path / "logs" / "child.log").read_text().split()[1])

    family.stop(lambda: False)

    wait_until(lambda: not birth(grandchild), "the grandchild lives on")


def test_a_sweep_ends_what_a_killed_parent_left(tmp_path):
    left = subprocess.Popen(
        [sys.executable, "-S", "-c", SLEEPER], start_new_session=True, stdout=subprocess.DEVNULL
    )
    register = tmp_path / "children.json"
    register.write_text(json.dumps({str(left.pid): birth(left.pid)}))

    assert sweep(register) == [left.pid]

    assert left.wait() == -signal.SIGTERM
    assert not register.exists()


def test_a_sweep_spares_a_stranger_who_got_the_same_id(tmp_path):
    stranger = subprocess.Popen(
        [sys.executable, "-S", "-c", SLEEPER], start_new_session=True, stdout=subprocess.DEVNULL
    )
    register = tmp_path / "children.json"
    register.write_text(json.dumps({str(stranger.pid): "another boot 1"}))

    assert sweep(register) == []

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("content", [None, "", "{", "{}"])
def test_a_register_that_says_nothing_is_no_obstacle(tmp_path, content):
    register = tmp_path / "children.json"
    if content is not None:
        register.write_text(content)

    assert sweep(register) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_die_when_their_parent_is_killed(tmp_path):
    code = f"""
import os, sys, time
from pathlib import Path
from api.processes import Family, Program
family = Family(Path({str(tmp_path / "children.json")!r}), print)
command = (sys.executable, "-S", "-c", {SLEEPER!r})
family.start(Program("child", command, os.environ, Path({str(tmp_path / "logs/child.log")!r})))
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    said_up(tmp_path)
    (child,) = pids(tmp_path)

    parent.kill()
    parent.wait()

    wait_until(lambda: not birth(child), "the child outlives its parent")


def test_the_end_of_a_log_is_short(tmp_path):
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {n}" for n in range(10_000)))

    assert last_lines(log, 2) == "line 9998\nline 9999"
