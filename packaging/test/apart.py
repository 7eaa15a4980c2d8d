"""For tests of a running Pinfold that need root: a network of their own, and waiting.

PINFOLD is the program (target/release/pinfold, unless the environment names another).
"""

import os
import pathlib
import sys
import time

# Where daemons and `ip` are, wherever a test is started from.
os.environ["PATH"] += ":/usr/sbin:/sbin"
ROOT = pathlib.Path(__file__).resolve().parents[2]
PINFOLD = os.environ.get("PINFOLD", str(ROOT / "target/release/pinfold"))


def go_apart(*more):
    """Runs the program anew, once, in namespaces of its own that end with it: its network, its processes, and `more`."""
    if os.environ.get("PINFOLD_APART") != "yes":
        os.environ["PINFOLD_APART"] = "yes"
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *more]
        os.execvp(command[0], [*command, sys.executable, sys.argv[0]])


def until(what, condition, patience=30, pause=0.02, passing=()):
    """What `condition` gives once that is something; it may fail with what is `passing`. Ends the test where it takes too long."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            found = condition()
        except passing:
            found = None
        if found:
            return found
        time.sleep(pause)
    raise SystemExit(f"FAILED: not within {patience} s: {what}")
