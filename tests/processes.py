"""Fresh interpreters, for what a process does once: import, read its environment, fork, be interrupted."""

import os
import subprocess
import sys
import textwrap


def clean_environment(**variables):
    """This process's environment without gpukern's own variables, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GPUKERN_")}
    return inherited | variables


def run_python(*arguments, **variables):
    """Runs an interpreter that must succeed and leave stderr empty; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stderr == ""
    return done.stdout


PREAMBLE = "import gpukern as gk\nimport numpy as np\n"
# For scripts that are sent SIGINT, which what a shell starts in the background ignores, and its children too.
INTERRUPTIBLE = PREAMBLE + "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"


def run_script(script, **variables):
    """Runs a script that has `gk` and `np`."""
    return run_python("-c", PREAMBLE + textwrap.dedent(script), **variables)
