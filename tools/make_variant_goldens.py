#!/usr/bin/env python3
"""Writes goldens of features that the released configs of a family may set and the tiny goldens leave off.

    tools/make_variant_goldens.py      # needs torch and transformers 4.46

Each variant takes the weights and input ids of an existing golden (model.safetensors is a link to it), changes a few keys
of its config, and records what transformers computes: logits, hidden states, attention and feed-forward outputs, greedy ids.
"""
import json
import os
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "tests/data/golden"
LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.7],
    "long_factor": [1.0, 2.0, 4.0, 8.0],
    "short_mscale": 1.1,
    "long_mscale": 1.3,
    "original_max_position_embeddings": 64,
}
VARIANTS = {
    "olmoe-clip": ("olmoe", {"clip_qkv": 0.4}),
    "phimoe-longrope": ("phimoe", {"rope_scaling": LONGROPE}),
}


def first(output):
    return output[0] if isinstance(output, tuple) else output


def make(name, base, changes):
    out = GOLDEN / name
    out.mkdir(exist_ok=True)
    config = json.loads((GOLDEN / base / "config.json").read_text()) | changes
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    link = out / "model.safetensors"
    if not link.exists():
        os.symlink(f"../{base}/model.safetensors", link)
    model = AutoModelForCausalLM.from_pretrained(
        out, config=AutoConfig.from_pretrained(out), torch_dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = load_file(GOLDEN / base / "golden.safetensors")["input_ids"]
    kept = {"input_ids": ids}

    def keep(module_name):
        def hook(_module, _inputs, output):
            kept[f"out.{module_name}.0"] = first(output).reshape(*ids.shape, -1).contiguous()
        return hook

    hooks = [
        module.register_forward_hook(keep(module_name))
        for module_name, module in model.named_modules()
        if module_name.endswith((".self_attn", ".mlp", ".block_sparse_moe"))
    ]
    with torch.no_grad():
        result = model(ids, output_hidden_states=True, use_cache=False)
        for hook in hooks:
            hook.remove()
        tokens, margins = ids[:1, :16], []
        for _ in range(16):
            top = model(tokens, use_cache=False).logits[0, -1].topk(2)
            margins.append(float(top.values[0] - top.values[1]))
            tokens = torch.cat([tokens, top.indices[:1].reshape(1, 1)], 1)
    kept["logits"] = result.logits.contiguous()
    for i, state in enumerate(result.hidden_states):
        kept[f"hidden_states.{i}"] = state.contiguous()
    save_file(kept, out / "golden.safetensors")
    golden = {"greedy_ids": tokens[0, 16:].tolist(), "greedy_margin_min": min(margins)}
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


for variant, (base, changes) in VARIANTS.items():
    make(variant, base, changes)
