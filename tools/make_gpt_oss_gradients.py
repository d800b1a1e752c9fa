#!/usr/bin/env python3
"""Writes what tests/data/golden/gpt_oss would be without transformers' balance loss (needs torch and numpy).

gpt-oss in PyTorch, as small as it goes. transformers' balance loss of this family takes a softmax of router scores that
are softmaxed already; the golden contains it. Here are loss, gradients and AdamW losses of the cross-entropy alone:
cross_entropy.json and cross_entropy_grads.safetensors. With --check: shows that with that loss the golden comes out.
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch

import safetensors_numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/golden"


def read(path):
    return {name: torch.tensor(array) for name, array in safetensors_numpy.read(str(path)).items()}


def rotary(config, length):
    scaling, dim, base = config["rope_scaling"], config["head_dim"], config["rope_theta"]
    periods = base ** (torch.arange(0, dim, 2).float() / dim)

    def dimension(turns):
        context = scaling["original_max_position_embeddings"]
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(dimension(scaling["beta_fast"]), 0), min(dimension(scaling["beta_slow"]), dim - 1)
    kept = 1 - ((torch.arange(dim // 2).float() - low) / (high - low)).clamp(0, 1)
    frequencies = 1 / (scaling["factor"] * periods) * (1 - kept) + 1 / periods * kept
    angles = torch.arange(length).float()[:, None] * frequencies
    factor = 0.1 * math.log(scaling["factor"]) + 1
    return angles.cos() * factor, angles.sin() * factor


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def attention(config, w, layer, x):
    b, s, _ = x.shape
    at, dim = f"model.layers.{layer}.self_attn.", config["head_dim"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]

    def project(name, n):
        return (x @ w[at + name + ".weight"].T + w[at + name + ".bias"]).view(b, s, n, dim).transpose(1, 2)

    cos, sin = rotary(config, s)
    q, k, v = rotate(project("q_proj", heads), cos, sin), rotate(project("k_proj", kv), cos, sin), project("v_proj", kv)
    k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(dim)
    i = torch.arange(s)
    seen = i[None, :] <= i[:, None]
    if config["layer_types"][layer] == "sliding_attention":
        seen &= i[None, :] > i[:, None] - config["sliding_window"]
    scores = scores.masked_fill(~seen, -math.inf)
    sinks = w[at + "sinks"].view(1, heads, 1, 1).expand(b, heads, s, 1)
    probabilities = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    out = (probabilities @ v).transpose(1, 2).reshape(b, s, heads * dim)
    return out @ w[at + "o_proj.weight"].T + w[at + "o_proj.bias"]


def experts(config, w, layer, x):
    """The block's output and the router scores [T, E], softmaxed over the chosen."""
    at, k = f"model.layers.{layer}.mlp.", config["num_experts_per_tok"]
    rows = x.reshape(-1, x.shape[-1])
    logits = rows @ w[at + "router.weight"].T + w[at + "router.bias"]
    top, ids = logits.topk(k, -1)
    scores = torch.zeros_like(logits).scatter(1, ids, top.softmax(-1))
    both = torch.einsum("th,ehf->etf", rows, w[at + "experts.gate_up_proj"])
    both = both + w[at + "experts.gate_up_proj_bias"][:, None]
    gate, up = both[..., ::2].clamp(max=7), both[..., 1::2].clamp(-7, 7)
    hidden = (up + 1) * gate * torch.sigmoid(1.702 * gate)
    out = torch.bmm(hidden, w[at + "experts.down_proj"]) + w[at + "experts.down_proj_bias"][:, None]
    return (scores.T[..., None] * out).sum(0).view_as(x), scores


def losses(config, w, ids):
    """Cross-entropy and transformers' balance loss."""
    eps, x, all_scores = config["rms_norm_eps"], w["model.embed_tokens.weight"][ids], []
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        x = x + attention(config, w, layer, norm(x, w[at + "input_layernorm.weight"], eps))
        y, scores = experts(config, w, layer, norm(x, w[at + "post_attention_layernorm.weight"], eps))
        x = x + y
        all_scores.append(scores)
    logits = norm(x, w["model.norm.weight"], eps) @ w["lm_head.weight"].T
    entropy = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
    p = torch.cat(all_scores).softmax(-1)
    chosen = torch.nn.functional.one_hot(p.topk(config["num_experts_per_tok"], -1)[1], p.shape[-1]).float()
    return entropy, (chosen.mean(0) * p.mean(0)).sum() * p.shape[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    config = json.loads((ROOT / "gpt_oss/config.json").read_text())
    train = json.loads((ROOT / "gpt_oss/golden.json").read_text())["train"]
    ids = read(ROOT / "gpt_oss/golden.safetensors")["input_ids"]
    w = {name: t.requires_grad_() for name, t in read(ROOT / "gpt_oss/model.safetensors").items()}
    coef = config["router_aux_loss_coef"] if check else 0.0

    entropy, aux = losses(config, w, ids)
    loss = entropy + coef * aux
    loss.backward()
    gradients = {name: t.grad.clone() for name, t in w.items()}
    text = (ROOT.parent / "text/tinyshakespeare.txt").read_bytes()[40000:]
    settings = train["adamw"]
    flags = {key: settings[key] for key in ("lr", "betas", "eps", "weight_decay")}
    optimizer = torch.optim.AdamW(list(w.values()), **flags)
    steps, norms = [], []
    for s in range(settings["steps"]):
        batch = torch.tensor([list(text[2500 * s + 1000 * i : 2500 * s + 1000 * i + 48]) for i in range(2)])
        optimizer.zero_grad()
        e, a = losses(config, w, batch)
        (e + coef * a).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(w.values()), settings["clip_grad_norm"])))
        optimizer.step()
        steps.append(float(e + coef * a))

    if check:
        theirs = read(ROOT / "gpt_oss/grads.safetensors")
        off = max(float((theirs[n] - g).norm() / theirs[n].norm()) for n, g in gradients.items())
        print("loss", float(loss), "against", train["loss"], "; aux", float(aux), "against", train["aux_loss"])
        steps_off = max(abs(a - b) for a, b in zip(steps, settings["losses"]))
        print("gradients at most", off, "off; AdamW losses at most", steps_off, "off")
        return
    result = {
        "loss": float(loss),
        "aux_loss": None,
        "output_router_logits": False,
        "grad_norms": {name: float(g.norm()) for name, g in gradients.items()},
        "grad_norm_before_clip": norms,
        "adamw": dict(settings, losses=steps),
    }
    (ROOT / "gpt_oss/cross_entropy.json").write_text(json.dumps({"train": result}, indent=1) + "\n")
    arrays = {name: g.numpy().astype(np.float32) for name, g in gradients.items()}
    safetensors_numpy.write(str(ROOT / "gpt_oss/cross_entropy_grads.safetensors"), arrays)


if __name__ == "__main__":
    main()
