#!/usr/bin/env python3
"""`make run`: builds Sluice, starts a real small pool, an external provider (simulated unless a key is there) and the gateway, and shows
one line a request until Ctrl-C. Everything it starts, it stops. Ports that are taken are replaced by free ones, and said so.
`make run-envoy` (--envoy) is the same behind an Envoy, that of $ENVOY_PATH or the one that scripts/fetch gets.

The external side is real when OPENAI_API_KEY or ANTHROPIC_API_KEY is in the environment (SLUICE_EXTERNAL_MODEL names another model);
calls to it cost money. SLUICE_POOL=simulated leaves out the real pool.
"""

import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("SLUICE_CACHE") or ROOT / ".cache").resolve()
EXAMPLES = ROOT / "examples"
ENVOY = CACHE / "envoy" / "envoy" / "_bin" / "envoy"
SLUICE = ROOT / "bin" / "sluice"

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

# The ports that the policy names; what is taken is replaced.
PORTS = {"sluice": 8080, "admin": 8081, "pool 1": 28080, "pool 2": 28081, "external": 28090}

# Key in the environment -> preset, model and its price as the policy writes them; the first that is set is taken.
EXTERNAL = {
    "OPENAI_API_KEY": ("openai", "gpt-5.5", "price: {in: 5, out: 30}"),
    "ANTHROPIC_API_KEY": ("anthropic", "claude-sonnet-5", "price: {in: 2, out: 10}"),
}
SIMULATED = """    dialect: openai
    base_url: http://127.0.0.1:28090/v1
"""
SIMULATED_NAME, SIMULATED_PRICE = "name: simulated-large", "price: {in: 2, out: 8}"


class Failed(Exception):
    """Why the quick start cannot go on; the text is for the person at the terminal."""


def say(text):
    print(text, flush=True)


def end_with_us():
    """Asks Linux to end this process when its parent dies, however that dies. Runs in a child before it becomes its program."""
    if LIBC:
        LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Children:
    """The processes that this script started; stop() ends each of them by its id, last one first."""

    def __init__(self):
        self.running = []

    def start(self, name, argv, **how):
        # A group of its own each: a Ctrl-C at the terminal reaches this script only, which then stops them in order.
        child = subprocess.Popen([str(a) for a in argv], start_new_session=True, stdin=subprocess.DEVNULL, preexec_fn=end_with_us, **how)
        self.running.append((name, child))
        return child

    def stop(self):
        for _, child in reversed(self.running):
            if child.poll() is None:
                child.terminate()
        for name, child in reversed(self.running):
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                say(f"{name} (pid {child.pid}) did not stop in 10 s; killing it")
                child.kill()
                child.wait()


def build():
    if not shutil.which("go"):
        raise Failed("Go is not installed (1.26 or newer is needed)")
    began = time.monotonic()
    say("building bin/sluice (a minute the first time)" if not SLUICE.exists() else "building bin/sluice")
    if subprocess.run(["make", "--no-print-directory", "-s", "build"], cwd=ROOT).returncode:
        raise Failed("the build failed (see above)")
    say(f"built in {time.monotonic() - began:.1f} s")


def fetch():
    """True when the real pool's parts are there."""
    if os.environ.get("SLUICE_POOL") == "simulated":
        return False
    return subprocess.run([sys.executable, ROOT / "scripts" / "fetch", "pool"]).returncode == 0


def fetch_envoy():
    """The Envoy to start: the one that $ENVOY_PATH names, or the one of the cache."""
    if os.environ.get("ENVOY_PATH"):
        return os.environ["ENVOY_PATH"]
    if subprocess.run([sys.executable, ROOT / "scripts" / "fetch", "envoy"]).returncode:
        raise Failed("Envoy could not be fetched (see above); name another one in $ENVOY_PATH")
    return str(ENVOY)


def free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_ports():
    """The ports of the policy, those in use replaced by free ones that differ."""
    chosen, held = dict(PORTS), []
    for name, port in PORTS.items():
        if free(port):
            continue
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        held.append(s)
        chosen[name] = s.getsockname()[1]
        say(f"port {port} is taken: {name} uses {chosen[name]}")
    for s in held:
        s.close()
    return chosen


def real_external():
    for key, (preset, model, price) in EXTERNAL.items():
        if os.environ.get(key):
            other = os.environ.get("SLUICE_EXTERNAL_MODEL")
            # The price is the default model's: another one's is not known here.
            return key, preset, other or model, "" if other else price
    return None


def replace(text, old, new):
    if text.count(old) != 1:
        raise Failed(f"the example's policy.yaml holds {old.strip()!r} {text.count(old)} times, want once; "
                     "`make run` cannot put another port or provider there")
    return text.replace(old, new)


def policy(example, ports, real, external):
    """The policy to serve: the example itself, or a copy in the cache where ports, the pool or the external provider differ."""
    if ports == PORTS and real and not external:
        return example
    text = example.read_text()
    if not real:
        text = replace(text, "engine: llamacpp", "engine: openai  ")  # `sluice mock` has no /health
    if external:
        key, preset, model, price = external
        text = replace(text, SIMULATED, f"    preset: {preset}\n    keys: [{{env: {key}}}]\n")
        text = replace(text, SIMULATED_NAME, f"name: {model}")
        text = replace(text, ", " + SIMULATED_PRICE, f", {price}" if price else "")
    for name, port in PORTS.items():
        if ports[name] != port and f"127.0.0.1:{port}" in text:
            text = replace(text, f"127.0.0.1:{port}", f"127.0.0.1:{ports[name]}")
    folder = CACHE / "quickstart"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "policy.yaml"
    out.write_text(text)
    return out


def wait(url, child, name, log=None, seconds=30):
    """Waits for a 200. A child that ended says so at once."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            tail = f":\n{log.read_text(errors='replace')[-2000:]}" if log and log.exists() else " (see above)"
            raise Failed(f"{name} ended with {child.returncode}{tail}")
        try:
            with direct.open(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.03)
    raise Failed(f"{name} did not answer at {url} in {seconds} s")


def start_pool(children, ports, logs, real):
    """Two llama.cpp endpoints, or two simulated ones."""
    started = []
    for name in ("pool 1", "pool 2"):
        log = logs / f"{name.replace(' ', '-')}.log"
        if real:
            argv = [sys.executable, "-B", ROOT / "scripts" / "pool_server.py", "--port", ports[name], "--threads", 1, "--alias", "smollm2-135m"]
        else:
            argv = [SLUICE, "mock", "--listen", f"127.0.0.1:{ports[name]}", "--model", "smollm2-135m", "--name", "the simulated pool"]
        with open(log, "w") as out:
            started.append((name, children.start(name, argv, stdout=out, stderr=out), log))
    for name, child, log in started:
        path = "/health" if real else "/v1/models"
        wait(f"http://127.0.0.1:{ports[name]}{path}", child, name, log)
    return [f"127.0.0.1:{ports[name]} (pid {child.pid})" for name, child, _ in started]


def start_external(children, ports, logs):
    log = logs / "external.log"
    with open(log, "w") as out:
        argv = [SLUICE, "mock", "--listen", f"127.0.0.1:{ports['external']}", "--model", "simulated-large"]
        child = children.start("external", argv, stdout=out, stderr=out)
    wait(f"http://127.0.0.1:{ports['external']}/v1/models", child, "the simulated provider", log)


def banner(ports, real, endpoints, external, file, envoy):
    url = f"http://127.0.0.1:{ports['sluice']}/v1"
    say("")
    say(f"Sluice   {url}   (any OpenAI client, any key; admin at http://127.0.0.1:{ports['admin']}/admin/status)")
    say(f"pool     {'SmolLM2-135M on llama.cpp, CPU' if real else 'SIMULATED by `sluice mock`'}: {', '.join(endpoints)}")
    say(f"outside  {f'{external[2]} by {external[0]}: calls cost money' if external else 'SIMULATED by `sluice mock` (set OPENAI_API_KEY or ANTHROPIC_API_KEY for a real one)'}")
    if envoy:
        say(f"Envoy    {envoy}   (its own log lines say source=envoy)")
    shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    say(f"policy   {shown}   (edit it: a good edit takes effect at once)")
    say("")
    say("Try, in another terminal: small talk stays here, a proof goes out, a private proof does not:")
    say("")
    for header, prompt in (
        ("", "hi there"),
        ("", "Prove that sqrt(2) + sqrt(3) is irrational."),
        ("-H 'x-data-class: private' ", "Prove that sqrt(2) + sqrt(3) is irrational."),
    ):
        body = '{"model":"auto","messages":[{"role":"user","content":"%s"}]}' % prompt
        say(f"  curl -si {url}/chat/completions {header}-d '{body}'")
    say("")
    say(f"One line a request follows{', with who carried it' if envoy else ''}; Ctrl-C stops everything.")


def pass_on(lines):
    """Shows what the gateway says, but for its line `ready`: the banner says that, and more."""
    for line in lines:
        if b" msg=ready " in line:
            continue
        try:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        except OSError:
            pass  # nobody reads any more; the gateway must not wait for that


def interrupted(signum, frame):
    raise KeyboardInterrupt


def main():
    if any(a in ("-h", "--help") for a in sys.argv[1:]):
        print(__doc__.strip())
        return 0
    # make ends its children with SIGTERM, terminals with SIGHUP; SIGINT is ignored in a shell's background job unless asked for.
    for s in STOP:
        signal.signal(s, interrupted)
    if os.environ.get("MAKELEVEL"):
        end_with_us()  # a make that is killed outright must not leave this script, and so the children, behind
    children = Children()
    try:
        return serve(children, "--envoy" in sys.argv[1:])
    except Failed as err:
        print(f"make run: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nstopping")
        return 0
    finally:
        # From here on a second Ctrl-C must not leave processes behind.
        for s in STOP:
            signal.signal(s, signal.SIG_IGN)
        children.stop()


def serve(children, behind):
    envoy = fetch_envoy() if behind else None
    example = EXAMPLES / ("envoy" if behind else "quickstart") / "policy.yaml"
    got = {}
    fetching = threading.Thread(target=lambda: got.update(real=fetch()))
    fetching.start()  # beside the build: one waits for the network, the other for the processor
    try:
        build()
    finally:
        fetching.join()
    real = got.get("real", False)
    if not real:
        asked = os.environ.get("SLUICE_POOL") == "simulated"
        say(f"{'as asked' if asked else 'the packages of the real pool could not be fetched'}: the pool is SIMULATED by `sluice mock`")
    logs = CACHE / "quickstart"
    logs.mkdir(parents=True, exist_ok=True)
    ports, external = choose_ports(), real_external()
    file = policy(example, ports, real, external)
    endpoints = start_pool(children, ports, logs, real)
    if not external:
        start_external(children, ports, logs)
    argv = [SLUICE, "serve", "--config", file, "--log", "text"]
    if envoy:
        argv += ["--plane", "envoy"]
    gateway = children.start("sluice", argv, env=dict(os.environ, ENVOY_PATH=envoy) if envoy else None,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    relay = threading.Thread(target=pass_on, args=(gateway.stdout,))
    relay.start()
    wait(f"http://127.0.0.1:{ports['admin']}/readyz", gateway, "sluice serve")
    banner(ports, real, endpoints, external, file, envoy)
    code = gateway.wait()
    relay.join()
    print(f"make run: sluice serve ended with {code}", file=sys.stderr)
    return code or 1


if __name__ == "__main__":
    sys.exit(main())
