#!/usr/bin/env python3
"""Runs the small-scale experiments R1-R9 and prints their tables; what is done already is not done again.

usage: bench/train/recipes.py [--moxie build/release/moxie] [--runs runs] [--seeds 1,2,3] [--threads N] R3 [R4 ...] | all | list

Each run is a directory RUNS/RECIPE/NAME-sSEED made by `moxie train`; a run that was cut short goes on where it stopped.
The text is unpacked from text.tar.xz beside this file. Tables are Markdown on stdout, progress on stderr.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent

DOMAINS, SIGMOID = "domains.toml", "domains-sigmoid.toml"
BIAS_OFF = {"balance.bias_rule": "none"}
LONG = {"train.steps": 1000}  # R3; the others take the 500 of domains.toml


def aux(form, scope="micro_batch", coef=0.01):
    return {"balance.form": form, "balance.scope": scope, "balance.coef": coef}


def bias(rule, rate, schedule="constant"):
    return (f"bias-{rule}-{rate}-{schedule}", SIGMOID,
            {"balance.bias_rule": rule, "balance.bias_rate": rate, "balance.bias_schedule": schedule})


# Recipe -> (what it asks, [(run, config, overrides)]). An override set to TWIN makes the dense twin.
TWIN = "--twin"
RECIPES = {
    "R1": ("Dense anchor: nanoGPT's CPU configuration, val 1.88 +- 0.03", [("dense", "dense-anchor.toml", {})]),
    "R2": ("Public MoE anchor: MoE-JAX's shape, val <= 1.66", [("moe", "moe-anchor.toml", {})]),
    "R3": ("MoE against its dense twin at equal active parameters, data and order",
           [("moe-16of2", DOMAINS, LONG), ("dense", DOMAINS, {**LONG, TWIN: True})]),
    "R4": ("Collapse: no balance, aux loss, bias",
           [("softmax-none", DOMAINS, {"balance.coef": 0}), ("softmax-aux", DOMAINS, {}),
            ("sigmoid-none", SIGMOID, BIAS_OFF), ("sigmoid-bias", SIGMOID, {})]),
    "R5": ("Aux loss against bias, rules, rates and scopes",
           [bias("sign", rate) for rate in (0.001, 0.003, 0.01)] + [bias("sign", 0.01, "lr")] +
           [bias("proportional", 0.03)] + [bias("proportional", rate, "lr") for rate in (0.003, 0.03, 0.1)] +
           [("bias-long", SIGMOID, LONG)] +
           [(f"aux-{form}", DOMAINS, aux(form)) for form in ("megablocks", "switch_top1", "transformers")] +
           [(f"aux-deepseek-{scope}", SIGMOID, {**aux("deepseek", scope, 0.003), **BIAS_OFF})
            for scope in ("sequence", "micro_batch")] +
           [(f"aux-accumulated-{scope}", DOMAINS, {**aux("megablocks", scope), "train.batch_size": 4, "train.grad_accum": 8})
            for scope in ("micro_batch", "global_batch")]),
    "R6": ("Capacity and what becomes of the overflow",
           [("dropless", DOMAINS, {})] +
           [(f"cf-{factor}", DOMAINS, {"router.capacity_factor": factor}) for factor in (1.0, 1.25, 1.5, 2.0)] +
           [(f"cf-1.0-{overflow}", DOMAINS, {"router.capacity_factor": 1.0, "router.overflow": overflow})
            for overflow in ("next_choice", "least_loaded")]),
    "R7": ("Granularity at fixed active and total parameters",
           [(f"{8 * g}of{g}", DOMAINS, {"model.num_experts": 8 * g, "model.num_experts_per_tok": g,
                                        "model.moe_intermediate_size": 256 // g, "model.norm_topk_prob": g > 1})
            for g in (1, 2, 4, 8)]),
    "R8": ("Shared experts: 0, 1 or 2 of 4 active, equal total",
           [(f"shared-{n}", SIGMOID, {"model.moe_intermediate_size": 64, "model.n_routed_experts": 32 - n,
                                      "model.num_experts_per_tok": 4 - n, "model.n_shared_experts": n})
            for n in (0, 1, 2)]),
    "R9": ("Upcycling a dense model against training on from scratch", []),  # see upcycling()
}
UPCYCLED = {"model.num_experts": 8, "model.num_experts_per_tok": 2, "model.moe_intermediate_size": 256}


class Driver:
    def __init__(self, options):
        self.moxie, self.runs, self.threads = options.moxie, pathlib.Path(options.runs).resolve(), options.threads

    def unpack(self):
        if not (self.runs / "text").is_dir():
            part = self.runs / "text.part"  # gets its name when it is whole
            part.mkdir(parents=True, exist_ok=True)
            with tarfile.open(HERE / "text.tar.xz") as archive:
                for member in archive.getmembers():
                    (part / member.name).write_bytes(archive.extractfile(member).read())
            part.rename(self.runs / "text")
        for config in HERE.glob("*.toml"):  # their paths are relative to the file
            text = config.read_text()
            copy = self.runs / config.name
            if not copy.exists() or copy.read_text() != text:
                copy.write_text(text)

    def train(self, recipe, name, config, overrides, seed):
        out = self.runs / recipe / f"{name}-s{seed}"
        if not (out / "model").exists():
            twin = overrides.get(TWIN)
            command = [self.moxie, "train", TWIN if twin else "--config", str(self.runs / config), "--out", str(out),
                       f"--train.seed={seed}", "--resume", "auto"]
            command += [f"--{key}={str(value).lower() if isinstance(value, bool) else value}"
                        for key, value in overrides.items() if key != TWIN]
            if self.threads:
                command += ["-t", str(self.threads)]
            print(f"{recipe} {name} seed {seed}: {' '.join(command)}", file=sys.stderr)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return read_run(out)

    def upcycling(self, seed):
        """A dense model; then, from it and from scratch, an MoE for as many steps again."""
        runs = [("dense", self.train("R9", "dense", DOMAINS, {**UPCYCLED, TWIN: True}, seed))]
        moe = self.runs / "R9" / f"upcycled-s{seed}.start"
        if not moe.exists():
            subprocess.run([self.moxie, "upcycle", str(self.runs / "R9" / f"dense-s{seed}" / "model"), "--experts", "8",
                            "--top-k", "2", "--out", str(moe)], check=True, stdout=subprocess.DEVNULL)
        # the dense feed-forward is 512 wide: each copy of it is an expert
        wide = {**UPCYCLED, "model.moe_intermediate_size": 512}
        runs.append(("upcycled", self.train("R9", "upcycled", DOMAINS, {**wide, "train.init_from": str(moe)}, seed)))
        runs.append(("scratch", self.train("R9", "scratch", DOMAINS, wide, seed)))
        return runs


def read_run(path):
    steps, evals, facts = [], [], {}
    for line in (path / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["type"] == "run":
            facts = entry
        elif entry["type"] == "step":
            steps.append(entry)
        elif entry["type"] == "eval":
            evals.append(entry)
    return {"facts": facts, "steps": steps, "evals": evals}


def reached(evals, loss, key):
    """Where a run's evaluation loss crosses `loss`, linear between evaluations; None if it never does."""
    for before, after in zip(evals, evals[1:]):
        if before["loss"] > loss >= after["loss"]:
            share = (before["loss"] - loss) / (before["loss"] - after["loss"])
            return before[key] + share * (after[key] - before[key])
    return None


def last_mean(run, key, count=10):
    values = [step[key] for step in run["steps"][-count:] if step.get(key) is not None]
    return statistics.mean(values) if values else None


def text(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def table(recipe, question, results):
    """results: {name: [run of each seed]}"""
    print(f"\n## {recipe}. {question}\n")
    print("| run | seeds | parameters (active) | tokens | val nats/byte | MaxVio batch | MaxVio global | dead | "
          "dropped | tok/s | training min |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, runs in results.items():
        losses = [run["evals"][-1]["nats_per_byte"] for run in runs]
        best = min(min(e["nats_per_byte"] for e in run["evals"]) for run in runs)
        spread = f" +- {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
        if best < min(losses) - 0.001:
            spread += f" (best {best:.4f})"
        facts, last = runs[0]["facts"], [run["evals"][-1] for run in runs]
        vio = [e["max_vio_global"] for e in last if e.get("max_vio_global") is not None]
        print(f"| {name} | {len(runs)} | {facts['parameters_total'] / 1e6:.2f}M ({facts['parameters_active'] / 1e6:.2f}M) | "
              f"{last[0]['tokens'] / 1e6:.1f}M | {statistics.mean(losses):.4f}{spread} | "
              f"{text(last_mean(runs[0], 'max_vio'))} | {text(statistics.mean(vio) if vio else None)} | "
              f"{text(last_mean(runs[0], 'dead_experts'), 1)} | {text(last_mean(runs[0], 'dropped'), 4)} | "
              f"{statistics.median(s['tokens_per_second'] for s in runs[0]['steps']):.0f} | "
              f"{statistics.mean(e['seconds'] for e in last) / 60:.1f} |")


def against_dense(results):
    print("\n| seed | tokens to the dense final loss | of the dense run | training time to it | of the dense run | lower |")
    print("|---|---|---|---|---|---|")
    moes = next(runs for name, runs in results.items() if name != "dense")
    for index, (moe, dense) in enumerate(zip(moes, results["dense"])):
        goal = dense["evals"][-1]
        tokens, seconds = reached(moe["evals"], goal["loss"], "tokens"), reached(moe["evals"], goal["loss"], "seconds")
        share = lambda value, key: "-" if value is None else f"{100 * value / goal[key]:.0f}%"
        lower = goal["loss"] - moe["evals"][-1]["loss"]
        print(f"| {index + 1} | {text(tokens and tokens / 1e6, 2)}M | {share(tokens, 'tokens')} | {text(seconds, 0)} s | "
              f"{share(seconds, 'seconds')} | {lower:.4f} nats |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--moxie", default=str(HERE.parent.parent / "build" / "release" / "moxie"))
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.recipes == ["list"]:
        for name, (question, runs) in RECIPES.items():
            print(f"{name}  {question} ({', '.join(run[0] for run in runs) or 'dense, upcycled, scratch'})")
        return
    names = list(RECIPES) if options.recipes == ["all"] else options.recipes
    for name in names:
        if name not in RECIPES:
            parser.error(f"no recipe {name}; there are {', '.join(RECIPES)}")
    driver = Driver(options)
    driver.unpack()
    for recipe in names:
        question, runs = RECIPES[recipe]
        seeds = [int(s) for s in (options.seeds or ("1,2,3" if recipe == "R3" else "1")).split(",")]
        if recipe == "R9":
            results = {}
            for seed in seeds:
                for name, run in driver.upcycling(seed):
                    results.setdefault(name, []).append(run)
        else:
            results = {name: [driver.train(recipe, name, config, overrides, seed) for seed in seeds]
                       for name, config, overrides in runs}
        table(recipe, question, results)
        if recipe == "R3":
            against_dense(results)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
