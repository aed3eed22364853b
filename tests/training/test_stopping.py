"""Signals to a real process: two within a second are one request, a later one ends it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mola.training import stopping

# says when it hears, cleans up for a while, and says when that is done
REQUESTS = """
import time
from mola.training.stopping import requests
with requests() as request:
    print("ready", flush=True)
    while not request.number:
        time.sleep(0.01)
    print("heard", flush=True)
    time.sleep(CLEANING)
print("cleaned up", flush=True)
"""
EXCEPTION = """
import time
from mola.training.stopping import Stopped, termination_as_exception
try:
    with termination_as_exception():
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("heard", flush=True)
            time.sleep(CLEANING)
except Stopped:
    print("cleaned up", flush=True)
"""


def signalled(program, cleaning, pause, *signals):
    """What a process says that gets signals, some seconds apart, and its exit code."""
    command = [sys.executable, "-c", program.replace("CLEANING", str(cleaning))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signals[0])
        assert process.stdout.readline() == "heard\n"
        for each in signals[1:]:
            time.sleep(pause)
            process.send_signal(each)
        return process.stdout.read(), process.wait()


@pytest.mark.parametrize("program", [REQUESTS, EXCEPTION])
def test_signals_that_are_one_request_lose_nothing(program):
    """As SLURM sends them at a time limit, and a terminal to a group of processes."""
    text, code = signalled(program, 0.5, 0.07, signal.SIGTERM, signal.SIGTERM, signal.SIGTERM)
    assert (text, code) == ("cleaned up\n", 0)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_later_signal_ends_the_work_at_once(second):
    text, code = signalled(REQUESTS, 60, stopping.SAME + 0.2, signal.SIGINT, second)
    assert (text, code) == ("", -second)


def test_a_later_termination_ends_what_cleans_up():
    text, code = signalled(EXCEPTION, 60, stopping.SAME + 0.2, signal.SIGTERM, signal.SIGTERM)
    assert (text, code) == ("", -signal.SIGTERM)


def test_a_command_that_is_ended_promises_no_more_than_is_true():
    """Some commands begin anew when they are called again."""
    with (
        stopping.termination_as_exception(),
        pytest.raises(stopping.Stopped, match=r"SIGTERM; what was finished stays; "),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
