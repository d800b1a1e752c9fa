#!/usr/bin/env python3
"""Writes models of tests/data/golden in other layouts and formats into tests/data/golden-layouts (numpy only).

Usage: make_layout_goldens.py    (from anywhere; writes the same bytes every time)
gpt_oss-mxfp4-f32 holds what the weights of gpt_oss-mxfp4 stand for, as f32 in the plain layout, so that both must give
equal logits.
"""

import json
import os
import re
import shutil

import numpy as np

import safetensors_numpy

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data")
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
BLOCK = 32


def load(model):
    folder = os.path.join(DATA, "golden", model)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        return json.load(file), safetensors_numpy.read(os.path.join(folder, "model.safetensors"))


def fresh_folder(name, config):
    folder = os.path.join(DATA, "golden-layouts", name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    return folder


def save(name, config, tensors):
    safetensors_numpy.write(os.path.join(fresh_folder(name, config), "model.safetensors"), tensors)


def pack_experts():
    """Per-expert tensors stacked as transformers 5 holds them: gate rows then up rows [E, 2I, H], and down [E, H, I]."""
    config, tensors = load("qwen3_moe")
    packed, experts = {}, {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight", name)
        if match:
            experts.setdefault(match[1], {})[int(match[2]), match[3]] = tensor
        else:
            packed[name] = tensor
    for prefix, parts in experts.items():
        ids = range(config["num_experts"])
        packed[f"{prefix}.gate_up_proj"] = np.stack([np.concatenate([parts[e, "gate"], parts[e, "up"]]) for e in ids])
        packed[f"{prefix}.down_proj"] = np.stack([parts[e, "down"] for e in ids])
    save("qwen3_moe-packed", config, packed)


def shard():
    """The same file cut into shards in layer order; the cuts go through the experts of a layer."""
    config, tensors = load("mixtral")
    folder = fresh_folder("mixtral-sharded", config)
    names = sorted(tensors, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])
    bounds = [0, len(names) // 4, len(names) // 2, len(names)]
    num_shards = len(bounds) - 1
    weight_map = {}
    for i in range(num_shards):
        file_name = f"model-{i + 1:05}-of-{num_shards:05}.safetensors"
        part = names[bounds[i] : bounds[i + 1]]
        safetensors_numpy.write(os.path.join(folder, file_name), {name: tensors[name] for name in part})
        weight_map.update(dict.fromkeys(part, file_name))
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file, indent=1)
        file.write("\n")


def to_bf16(values):
    """Round to nearest, ties to even; as the upper halves of the f32 bits."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def round_weights():
    config, tensors = load("mixtral")
    halves = {name: to_bf16(tensor) for name, tensor in tensors.items()}
    save("mixtral-bf16", config | {"torch_dtype": "bfloat16"}, halves)
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    save("mixtral-f16", config | {"torch_dtype": "float16"}, halves)


def quantize_mxfp4(rows):
    """[..., n] f32 -> blocks [..., n/32, 16] u8 (low nibble first), scales [..., n/32] u8 and the values they mean."""
    groups = rows.reshape(*rows.shape[:-1], -1, BLOCK)
    largest = np.abs(groups).max(-1)
    exponent = np.floor(np.log2(np.maximum(largest, 2.0**-100))).astype(np.int32) - 2  # 4 = 2^2 is e2m1's top binade
    scale = np.exp2(exponent.astype(np.float32))[..., None]
    nearest = np.abs(np.abs(groups / scale)[..., None] - E2M1).argmin(-1).astype(np.uint8)
    codes = nearest | (np.signbit(groups).astype(np.uint8) << 3)
    values = np.where(codes & 8, -E2M1[codes & 7], E2M1[codes & 7]) * scale
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    return blocks, (exponent + 127).astype(np.uint8), values.reshape(rows.shape).astype(np.float32)


def quantize_gpt_oss():
    """Experts as the hub stores them: matrices transposed to [E, out, in], cut along `in` into MXFP4 blocks."""
    config, tensors = load("gpt_oss")
    hub, plain = {}, {}
    for name, tensor in tensors.items():
        if re.search(r"experts\.(gate_up|down)_proj$", name):
            blocks, scales, values = quantize_mxfp4(np.ascontiguousarray(tensor.swapaxes(1, 2)))
            hub[name + "_blocks"], hub[name + "_scales"] = blocks, scales
            plain[name] = np.ascontiguousarray(values.swapaxes(1, 2))
        else:
            hub[name] = plain[name] = tensor
    unquantized = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    method = {"quant_method": "mxfp4", "modules_to_not_convert": unquantized}
    save("gpt_oss-mxfp4", config | {"quantization_config": method}, hub)
    save("gpt_oss-mxfp4-f32", config, plain)


if __name__ == "__main__":
    pack_experts()
    shard()
    round_weights()
    quantize_gpt_oss()
