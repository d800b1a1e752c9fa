#!/usr/bin/env python3
"""Kills a small training run with SIGKILL at random moments, resumes it each time, and compares the end with an unbroken run, bit for bit.

usage: tools/kill_runs.py BINARY [--kills 100] [--seed 1]      leaves with 1 if anything differs or a checkpoint was half there
"""
import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CONFIG = """[model]
model_type = "qwen3_moe"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
num_experts = 8
num_experts_per_tok = 2
moe_intermediate_size = 32
intermediate_size = 64
norm_topk_prob = true
tie_word_embeddings = true
vocab_size = 256
max_position_embeddings = 64
[data]
tokenizer = "bytes"
valid_fraction = 0.2
[[data.domains]]
name = "words"
paths = ["text.txt"]
[train]
steps = {steps}
batch_size = 2
seq_len = 32
grad_accum = 2
lr = 3e-3
dropout = 0.1
log_every = 1
eval_every = 20
checkpoint_every = 3
eval_sequences = 4
threads = 2
out = "whole"
[router]
noise = "jitter"
[balance]
coef = 0.01
"""
CLOCK = {"seconds", "tokens_per_second", "mfu"}


def told(run):
    """Steps, routings and evaluations of a run without what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in lines if line["type"] not in ("run", "event")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        (place / "text.txt").write_text("".join(f"line {i * i % 97} of the text, and one more.\n" for i in range(500)))
        (place / "c.toml").write_text(CONFIG.format(steps=4 * options.kills))
        train = [options.binary, "train", "--config", str(place / "c.toml")]
        start = time.time()
        subprocess.run(train, check=True, capture_output=True)
        each = (time.time() - start) / options.kills
        parts = train + ["--out", str(place / "parts"), "--resume", "auto"]
        kills = skipped = runs = 0
        same_told = same_weights = True
        while kills < options.kills:  # a run that comes to its end alive is judged, and the next one begins
            shutil.rmtree(place / "parts", ignore_errors=True)
            ended = False
            while not ended:
                child = subprocess.Popen(parts, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                if kills < options.kills:
                    time.sleep(0.03 + rng.random() * 4 * each)
                    child.kill()
                said = child.communicate()[1]
                skipped += "is skipped" in said
                ended = child.returncode == 0
                if not ended and child.returncode != -signal.SIGKILL:
                    sys.exit(f"a resumed run left with {child.returncode}: {said}")
                kills += not ended
            runs += 1
            same_told &= told(place / "parts") == told(place / "whole")
            weights = [(place / run / "model/model.safetensors").read_bytes() for run in ("parts", "whole")]
            same_weights &= weights[0] == weights[1]
        print(f"{kills} kills in {runs} runs; checkpoints half there: {skipped}; same metrics: {same_told}; "
              f"same weights: {same_weights}")
        return 0 if same_told and same_weights and skipped == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
