#!/usr/bin/env python3
"""Writes a model directory with random weights at a real shape, for speed measurements without a download.

    tools/random_model.py bench/shapes/mixtral-2l.json OUT_DIR [--dtype bf16|f16|f32]

The config is a Hugging Face config.json of a family with Mixtral's, Qwen3-MoE's or Llama's tensor names. Weights are
normal with sigma 1/sqrt(fan-in); the embedding's sigma is 30 times that of the rest, so that the residual stream keeps
the token and routing stays spread. Numbers repeat in blocks of 16 Mi: nothing measures their values. Not for quality.
"""
import argparse
import json
import pathlib
import struct

import numpy as np

BLOCK = 1 << 24


def tensor_shapes(config):
    """Names and shapes as the family's checkpoints have them, in file order."""
    h = config["hidden_size"]
    heads = config["num_attention_heads"]
    dim = config.get("head_dim") or h // heads
    kv = config["num_key_value_heads"] * dim
    family = config["model_type"]
    experts = config.get("num_local_experts") or config.get("num_experts") or 0
    width = config.get("moe_intermediate_size") or config["intermediate_size"]
    yield "model.embed_tokens.weight", (config["vocab_size"], h)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (h,)
        yield at + "self_attn.q_proj.weight", (heads * dim, h)
        yield at + "self_attn.k_proj.weight", (kv, h)
        yield at + "self_attn.v_proj.weight", (kv, h)
        yield at + "self_attn.o_proj.weight", (h, heads * dim)
        if family.startswith("qwen3"):
            yield at + "self_attn.q_norm.weight", (dim,)
            yield at + "self_attn.k_norm.weight", (dim,)
        yield at + "post_attention_layernorm.weight", (h,)
        if experts == 0:
            for name, shape in (("gate", (width, h)), ("up", (width, h)), ("down", (h, width))):
                yield f"{at}mlp.{name}_proj.weight", shape
            continue
        mixtral = family == "mixtral"
        block = at + ("block_sparse_moe." if mixtral else "mlp.")
        yield block + "gate.weight", (experts, h)
        names = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
        for expert in range(experts):
            for name, shape in zip(names, ((width, h), (width, h), (h, width))):
                yield f"{block}experts.{expert}.{name}.weight", shape
    yield "model.norm.weight", (h,)
    if not config.get("tie_word_embeddings", False):
        yield "lm_head.weight", (config["vocab_size"], h)


def encode(values, dtype):
    if dtype == "f32":
        return values.astype("<f4")
    if dtype == "f16":
        return values.astype("<f2")
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write(path, shapes, dtype, seed):
    size = {"f32": 4, "f16": 2, "bf16": 2}[dtype]
    header, offset = {}, 0
    for name, shape in shapes:
        n = int(np.prod(shape)) * size
        header[name] = {"dtype": dtype.upper(), "shape": list(shape), "data_offsets": [offset, offset + n]}
        offset += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)  # data begins at a multiple of 64
    text = text[: (len(text) + 8) // 64 * 64 - 8]
    normal = np.random.default_rng(seed).standard_normal(BLOCK, dtype=np.float32)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes:
            n = int(np.prod(shape))
            sigma = 1.0 if len(shape) == 1 else shape[-1] ** -0.5 * (30 if "embed_tokens" in name else 1)
            block = np.ones(min(n, BLOCK), np.float32) if len(shape) == 1 else normal[: min(n, BLOCK)] * np.float32(sigma)
            data = encode(block, dtype).tobytes()
            for begin in range(0, n * size, len(data)):
                file.write(data[: min(len(data), n * size - begin)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("out")
    parser.add_argument("--dtype", choices=("bf16", "f16", "f32"), default="bf16")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    config = json.loads(pathlib.Path(args.config).read_text())
    config["torch_dtype"] = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[args.dtype]
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=1))
    write(out / "model.safetensors", list(tensor_shapes(config)), args.dtype, args.seed)


if __name__ == "__main__":
    main()
