#!/usr/bin/env python3
"""Writes all-MiniLM-L6-v2 (safetensors and vocab.txt, as published) as a GGUF file, which the llama.cpp pool server serves as embeddings.

    scripts/minilm_gguf.py FOLDER FILE

Standard library only. Two-dimensional weights become 16-bit floats; norms, biases and positions stay as they are.
"""

import array
import json
import pathlib
import struct
import sys

ALIGN = 32
F32, F16 = 0, 1
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # GGUF's types of metadata
LAYERS, WIDTH, INNER, HEADS, CONTEXT = 6, 384, 1536, 12, 512
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5  # kinds of tokens
MEAN = 1  # pooling

NAMES = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
PARTS = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v", "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}
for n in range(LAYERS):
    for theirs, ours in PARTS.items():
        for end in ("weight", "bias"):
            NAMES[f"encoder.layer.{n}.{theirs}.{end}"] = f"blk.{n}.{ours}.{end}"


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def entry(key, kind, value):
    """One pair of metadata; value is packed already."""
    return text(key) + struct.pack("<I", kind) + value


def listed(key, kind, values):
    packed = b"".join(values)
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + packed


def tokens(folder):
    """The vocabulary as llama.cpp's WordPiece has it: a word's beginning carries a mark, its continuation none."""
    words, kinds = [], []
    for word in (folder / "vocab.txt").read_text(encoding="utf-8").splitlines():
        kind = NORMAL
        if word in ("[PAD]", "[CLS]", "[SEP]", "[MASK]"):
            kind = CONTROL
        elif word == "[UNK]":
            kind = UNKNOWN
        elif word.startswith("[unused"):
            kind = UNUSED
        elif word.startswith("##"):
            word = word[2:]
        else:
            word = "\u2581" + word
        words.append(word)
        kinds.append(kind)
    return words, kinds


def metadata(folder):
    words, kinds = tokens(folder)
    ids = {w: i for i, w in enumerate(words)}
    number = lambda key, n: entry(key, UINT32, struct.pack("<I", n))
    pairs = [
        entry("general.architecture", STRING, text("bert")),
        entry("general.name", STRING, text("all-MiniLM-L6-v2")),
        number("bert.block_count", LAYERS), number("bert.context_length", CONTEXT), number("bert.embedding_length", WIDTH),
        number("bert.feed_forward_length", INNER), number("bert.attention.head_count", HEADS),
        entry("bert.attention.layer_norm_epsilon", FLOAT32, struct.pack("<f", 1e-12)),
        entry("bert.attention.causal", BOOL, b"\0"),
        number("bert.pooling_type", MEAN),
        entry("tokenizer.ggml.model", STRING, text("bert")),
        number("tokenizer.ggml.token_type_count", 2),
        listed("tokenizer.ggml.tokens", STRING, [text(w) for w in words]),
        listed("tokenizer.ggml.token_type", INT32, [struct.pack("<i", k) for k in kinds]),
    ]
    for key, word in (("bos", "[CLS]"), ("eos", "[SEP]"), ("unknown", "[UNK]"), ("seperator", "[SEP]"), ("padding", "[PAD]"), ("mask", "[MASK]"), ("cls", "[CLS]")):
        pairs.append(number(f"tokenizer.ggml.{key}_token_id", ids[word]))
    return pairs


def half(raw):
    """32-bit floats as 16-bit ones, a piece at a time: the whole would be a list of millions of numbers."""
    floats = array.array("f")
    floats.frombytes(raw)
    step = 1 << 16
    return b"".join(struct.pack(f"<{len(floats[i:i + step])}e", *floats[i:i + step]) for i in range(0, len(floats), step))


def tensors(folder):
    """Yields each tensor's name, shape, type and bytes."""
    with open(folder / "model.safetensors", "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        index = json.loads(f.read(size))
        for theirs, ours in NAMES.items():
            about = index[theirs]
            if about["dtype"] != "F32":
                sys.exit(f"minilm_gguf: {theirs} is {about['dtype']}")
            begin, end = about["data_offsets"]
            f.seek(8 + size + begin)
            raw, shape = f.read(end - begin), about["shape"]
            narrow = len(shape) == 2 and ours not in ("position_embd.weight", "token_types.weight")
            yield ours, shape, F16 if narrow else F32, half(raw) if narrow else raw


def main(argv):
    if len(argv) != 2:
        sys.exit(__doc__.strip())
    folder, out = pathlib.Path(argv[0]), pathlib.Path(argv[1])
    pairs, infos, data, at = metadata(folder), [], [], 0
    for name, shape, kind, raw in tensors(folder):
        dims = b"".join(struct.pack("<Q", n) for n in reversed(shape))
        infos.append(text(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", kind, at))
        raw += bytes(-len(raw) % ALIGN)
        data.append(raw)
        at += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) + b"".join(infos)
    partial = out.with_suffix(".partial")
    with open(partial, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGN))
        for raw in data:
            f.write(raw)
    partial.rename(out)


if __name__ == "__main__":
    main(sys.argv[1:])
