"""Lets a client in a child import a PyPI package which has the name of one of our families."""

import os
import pathlib
import sys


def prefer(name):
    """From now on `import name` means the PyPI package (only for a child: `Host.call` or `Host.spawn`)."""
    here = pathlib.Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if pathlib.Path(p or os.getcwd()).resolve() != here]
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[module]
