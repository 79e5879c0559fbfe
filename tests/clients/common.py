"""What every client script shares: named checks, each printed as one line.

A script is run twice, against Saltlake and against a real PostgreSQL over the same tables, and what it prints must be
the same. So a check prints values with their types, and an error as its SQLSTATE or its first line.
"""

import sys

HOST, PORT = sys.argv[1].rsplit(":", 1)
URL = f"postgresql://test@{HOST}:{PORT}/lake"


def shown(value):
    """Prints a value so that equal means equal: type and text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(value[key])}" for key in value) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if isinstance(value, memoryview):
        value = bytes(value)
    return f"{type(value).__name__} {value!r}" if value is not None else "None"


def reason(error):
    """Prints an error: by SQLSTATE where the driver tells it."""
    for name in ("sqlstate", "pgcode"):
        code = getattr(error, name, None)
        if code:
            return code
    arguments = getattr(error, "args", ())
    if arguments and isinstance(arguments[0], dict):
        return arguments[0].get("C", "?")
    original = getattr(error, "orig", None)
    if original is not None:
        return reason(original)
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def check(function):
    """Runs a check and prints its result."""
    name = function.__name__
    try:
        print(f"{name}\t{shown(function())}", flush=True)
    except Exception as error:  # noqa: BLE001: any failure is a result to compare
        print(f"{name}\tERROR {reason(error)}", flush=True)
    return function
