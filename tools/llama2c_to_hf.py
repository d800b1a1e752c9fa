#!/usr/bin/env python3
"""Converts a llama2.c version-0 checkpoint and its tokenizer.bin into a Hugging Face model directory (numpy only).

Usage: llama2c_to_hf.py MODEL.bin TOKENIZER.bin OUT_DIR
Writes config.json, generation_config.json, model.safetensors (f32), tokenizer.json and tokenizer_config.json.
"""

import json
import os
import struct
import sys

import numpy as np

import safetensors_numpy

SPACE = "\u2581"  # how SentencePiece writes a space
NUM_CONTROL = 3 + 256  # <unk>, <s>, </s>, then one piece a byte


def read_checkpoint(path):
    """The seven numbers of the header, and the weights by their Hugging Face names."""
    data = open(path, "rb").read()
    names = ("dim", "hidden_dim", "layers", "heads", "kv_heads", "vocab", "seq_len")
    sizes = dict(zip(names, struct.unpack("<7i", data[:28])))
    floats, at = np.frombuffer(data, "<f4", offset=28), 0
    tied = sizes["vocab"] > 0  # a negative size marks an output matrix of its own
    sizes["vocab"] = abs(sizes["vocab"])
    dim, hidden, layers = sizes["dim"], sizes["hidden_dim"], sizes["layers"]
    head = dim // sizes["heads"]
    kv_dim = head * sizes["kv_heads"]

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return floats[at - count : at].reshape(shape)

    def half_split(rows):
        """Rotary pairs (0,1), (2,3), ... of a head become (0, head/2), (1, head/2 + 1), ..."""
        return rows.reshape(-1, head // 2, 2, dim).swapaxes(1, 2).reshape(-1, dim)

    weights = {"model.embed_tokens.weight": take(sizes["vocab"], dim)}
    stacks = [
        ("input_layernorm", take(layers, dim)),
        ("self_attn.q_proj", take(layers, dim, dim)),
        ("self_attn.k_proj", take(layers, kv_dim, dim)),
        ("self_attn.v_proj", take(layers, kv_dim, dim)),
        ("self_attn.o_proj", take(layers, dim, dim)),
        ("post_attention_layernorm", take(layers, dim)),
        ("mlp.gate_proj", take(layers, hidden, dim)),
        ("mlp.down_proj", take(layers, dim, hidden)),
        ("mlp.up_proj", take(layers, hidden, dim)),
    ]
    for name, stack in stacks:
        for layer in range(layers):
            rotary = name in ("self_attn.q_proj", "self_attn.k_proj")
            weights[f"model.layers.{layer}.{name}.weight"] = half_split(stack[layer]) if rotary else stack[layer]
    weights["model.norm.weight"] = take(dim)
    take(2, sizes["seq_len"], head // 2)  # tables of cosines and sines, which everyone computes for themselves
    if not tied:
        weights["lm_head.weight"] = take(sizes["vocab"], dim)
    assert at == floats.size, f"{floats.size - at} numbers left over: not a version-0 checkpoint"
    return sizes, tied, weights


def read_tokenizer(path, vocab):
    """Pieces with spaces as in SentencePiece, and their scores."""
    data, at, pieces, scores = open(path, "rb").read(), 4, [], []
    for _ in range(vocab):
        score, length = struct.unpack("<fi", data[at : at + 8])
        piece = data[at + 8 : at + 8 + length].decode()
        pieces.append(piece.strip("\n") if len(pieces) < NUM_CONTROL else piece.replace(" ", SPACE))
        scores.append(score)
        at += 8 + length
    return pieces, scores


def merges_of(pieces, scores):
    """Every way to make a piece of two others, best score first: the order in which llama2.c would merge them."""
    ids = {piece: i for i, piece in enumerate(pieces) if i >= NUM_CONTROL}
    found = []
    for piece, i in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((-scores[i], ids[left], ids[right], f"{left} {right}"))
    return [pair for *_, pair in sorted(found)]


def tokenizer_json(pieces, scores):
    special = [
        {"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for i in range(3)
    ]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": merges_of(pieces, scores),
        },
    }


def main(model_path, tokenizer_path, out_dir):
    sizes, tied, weights = read_checkpoint(model_path)
    pieces, scores = read_tokenizer(tokenizer_path, sizes["vocab"])
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "vocab_size": sizes["vocab"],
        "hidden_size": sizes["dim"],
        "intermediate_size": sizes["hidden_dim"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv_heads"],
        "max_position_embeddings": sizes["seq_len"],
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    files = {
        "config.json": config,
        # llama2.c's own defaults; it ends a text where the next would begin (<s>).
        "generation_config.json": {
            "bos_token_id": 1, "eos_token_id": [1, 2], "do_sample": True, "temperature": 1.0, "top_p": 0.9,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
            "add_bos_token": True, "add_eos_token": False, "model_max_length": sizes["seq_len"],
            "clean_up_tokenization_spaces": False,
        },
        "tokenizer.json": tokenizer_json(pieces, scores),
    }
    os.makedirs(out_dir, exist_ok=True)
    for name, value in files.items():
        with open(os.path.join(out_dir, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.write("\n")
    safetensors_numpy.write(os.path.join(out_dir, "model.safetensors"), weights)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
