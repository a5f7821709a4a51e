"""Runs the checks of one suite in order: one line a check, a summary, and exit 1 at the first failure."""

import os
import sys
import traceback

BASE_URL = os.environ.get("SLUICE_BASE_URL", "http://127.0.0.1:8080/v1")
API_KEY = os.environ.get("SLUICE_API_KEY", "none")
MODEL = os.environ.get("SLUICE_MODEL", "auto")
EMBED_MODEL = os.environ.get("SLUICE_EMBED_MODEL", "embed")
TOOLS_MODEL = os.environ.get("SLUICE_TOOLS_MODEL", "tools")
DENIED_MODEL = os.environ.get("SLUICE_DENIED_MODEL", "")
LIMITED_MODEL = os.environ.get("SLUICE_LIMITED_MODEL", "")
DENIED_HEADERS = {"x-data-class": "private"}


def run(checks):
    """checks is a list of (name, function); arguments on the command line pick some by name."""
    wanted = sys.argv[1:]
    absent = [name for name, model in (("denied", DENIED_MODEL), ("limited", LIMITED_MODEL)) if not model]
    checks = [c for c in checks if c[0] not in absent]
    checks = [c for c in checks if not wanted or c[0] in wanted]
    passed = 0
    for name, check in checks:
        try:
            check()
        except BaseException:
            traceback.print_exc()
            print(f"FAIL {name}", flush=True)
            print(f"{passed} passed, 1 failed", flush=True)
            sys.exit(1)
        passed += 1
        print(f"ok {name}", flush=True)
    print(f"{passed} passed, 0 failed", flush=True)


def raises(kind, status, call):
    """Wants the exception type a user would catch, with its status."""
    try:
        call()
    except kind as err:
        assert err.status_code == status, f"status {err.status_code}, want {status}: {err}"
        return err
    raise AssertionError(f"no {kind.__name__}")
