#!/usr/bin/env python3
"""One control plane, three Envoys, a policy that changes under load.

    make build envoy && examples/envoy-fleet/fleet.py [--requests N] [--streams N] [--updates N]

Starts three simulated providers, `sluice serve --plane envoy` with `binary: external`, and three Envoys with `sluice bootstrap`; the kernel
spreads clients over the three, which listen on one port. Then it asks, holds streams open, changes the policy, and counts. Everything that
it starts, it stops. Exit: 0 no request was lost and every update arrived, 1 otherwise. Envoy is that of $ENVOY_PATH or of `make envoy`.
"""

import argparse
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SLUICE = ROOT / "bin" / "sluice"
CACHE = pathlib.Path(os.environ.get("SLUICE_CACHE") or ROOT / ".cache")
ENVOY = os.environ.get("ENVOY_PATH") or CACHE / "envoy" / "envoy" / "_bin" / "envoy"
DATA, ADMIN = 8180, "http://127.0.0.1:8181"
NAMES = ["envoy-1", "envoy-2", "envoy-3"]
started = []


def start(argv, log):
    child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    started.append(child)
    return child


def status():
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ADMIN + "/admin/status", timeout=5) as answer:
        return json.load(answer)


def until(what, ok, child, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SystemExit(f"{what}: a process ended with {child.returncode}")
        try:
            if ok():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within {seconds} s")


def ask(prompt, stream):
    """One request on a connection of its own. Returns what is wrong with the answer, or ""."""
    body = json.dumps({"model": "auto", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
    c = http.client.HTTPConnection("127.0.0.1", DATA, timeout=60)
    try:
        c.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        answer = c.getresponse()
        text = answer.read()
        if answer.status != 200:
            return f"{answer.status} {text[:200]!r}"
        if not (text.rstrip().endswith(b"[DONE]") if stream else b'"choices"' in text):
            return f"an answer without its end: {text[-80:]!r}"
        return ""
    except (OSError, http.client.HTTPException) as err:
        return repr(err)
    finally:
        c.close()


class Load:
    """Clients that ask in turn until their share is done and nothing asks for more."""

    def __init__(self):
        self.answered, self.wrong, self.lock = 0, [], threading.Lock()
        self.more = threading.Event()

    def client(self, prompts, share, stream):
        done = 0
        while done < share or not self.more.is_set():
            wrong = ask(prompts[done % len(prompts)], stream)
            done += 1
            with self.lock:
                self.answered += 1
                if wrong:
                    self.wrong.append(wrong)


def updates(file, count):
    """Changes the policy and waits until all three Envoys follow, count times."""
    text = file.read_text()
    for i in range(1, count + 1):
        new = file.with_suffix(".new")
        new.write_text(text.replace("connect: 2s", f"connect: {2000 + i}ms"))
        before = status()["policy"]["generation"]
        os.replace(new, file)
        sluice = started[3]
        until(f"update {i}", lambda: status()["policy"]["generation"] > before, sluice)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--requests", type=int, default=1000)
    p.add_argument("--streams", type=int, default=50, help="streams that are open at any time")
    p.add_argument("--updates", type=int, default=20)
    o = p.parse_args()
    for needed in (SLUICE, pathlib.Path(ENVOY)):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there: make build envoy")
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        try:
            return run(pathlib.Path(folder), o)
        finally:
            for child in reversed(started):
                child.terminate()
            for child in reversed(started):
                child.wait()


def run(folder, o):
    file = folder / "policy.yaml"
    file.write_text((HERE / "policy.yaml").read_text())
    log = open(folder / "log", "w+")
    for port, model in ((28180, "simulated-small"), (28181, "simulated-small"), (28190, "simulated-large")):
        start([SLUICE, "mock", "--listen", f"127.0.0.1:{port}", "--model", model], log)
    sluice = start([SLUICE, "serve", "--plane", "envoy", "--config", file, "--state", folder], log)
    until("sluice serve", lambda: status(), sluice)
    for name in NAMES:
        boot = folder / f"{name}.json"
        with open(boot, "w") as out:
            subprocess.run([str(SLUICE), "bootstrap", "--config", str(file), "--node", name, "--control", str(folder / "control.sock"),
                            "--admin", str(folder / f"{name}.sock")], stdout=out, stderr=subprocess.DEVNULL, check=True)
        start([ENVOY, "-c", boot, "--disable-hot-restart", "--concurrency", 1, "--drain-time-s", 660, "-l", "error"], log)
    until("three Envoys", lambda: sum(e["ready"] > 0 for e in status()["envoys"]) == 3, sluice)
    show("connected")

    load = Load()
    prompts = ["hi there", "Prove that sqrt(2) + sqrt(3) is irrational."]
    clients = [threading.Thread(target=load.client, args=(prompts, o.requests // 8, False)) for _ in range(8)]
    clients += [threading.Thread(target=load.client, args=(prompts, 1, True)) for _ in range(o.streams)]
    began = time.monotonic()
    for c in clients:
        c.start()
    updates(file, o.updates)
    load.more.set()
    for c in clients:
        c.join()
    print(f"{load.answered} requests, {o.streams} streams open at any time, {o.updates} updates of the policy in {time.monotonic() - began:.1f} s: "
          f"{len(load.wrong)} lost")
    for wrong in load.wrong[:5]:
        print("  ", wrong)
    show("at the end")
    until("the last line", lambda: (folder / "log").read_text().count('"msg":"exchange"') == load.answered, sluice)
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if '"msg":"exchange"' in line]
    by = {}
    for line in lines:
        by[line["carried"]] = by.get(line["carried"], 0) + 1
    print("carried by:", ", ".join(f"{name} {n}" for name, n in sorted(by.items())))
    for name in NAMES:
        print(f"{name}: {requests_of(folder / f'{name}.sock')} requests")
    return 1 if load.wrong else 0


def show(when):
    s = status()
    print(f"{when}: policy replaced {s['policy']['generation']} times;", ", ".join(f"{e['id']} ({e['version']}) has publication {e['ready']}" for e in s["envoys"]))


def requests_of(socket_path):
    """Reads a counter of an Envoy through its admin socket."""
    c = http.client.HTTPConnection("envoy")
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.connect(str(socket_path))
    c.request("GET", "/stats?filter=^http.sluice.downstream_rq_completed$")
    text = c.getresponse().read().decode()
    c.close()
    return text.rsplit(": ", 1)[-1].strip()


if __name__ == "__main__":
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(1))
    sys.exit(main())
