#include "train/config_fields.h"

namespace moxie {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 30;

}  // namespace

// The bounds of steps, batch_size and grad_accum keep the number of a sample within 62 bits.
void train_fields(Fields& fields, LoopConfig& train) {
  fields.integer("steps", train.steps, {1, kMaxCount});
  fields.integer("batch_size", train.batch_size, {1, 65536});
  fields.integer("seq_len", train.seq_len, {1, int64_t{1} << 24});
  fields.integer("grad_accum", train.grad_accum, {1, 65536});
  fields.number("lr", train.lr, {0, 100});
  fields.number("min_lr", train.min_lr, {0, 100, true});
  fields.one_of("schedule", train.schedule, {"constant", "cosine", "linear", "wsd"});
  fields.number("warmup", train.warmup, {0, static_cast<double>(kMaxCount), true});
  fields.number("decay", train.decay, {0, 1});
  fields.number("weight_decay", train.weight_decay, {0, 100, true});
  fields.number("beta1", train.beta1, {0, 0.999999, true});
  fields.number("beta2", train.beta2, {0, 0.999999999, true});
  fields.number("eps", train.eps, {0, 1});
  fields.number("clip", train.clip, {0, 1e9, true});
  fields.number("dropout", train.dropout, {0, 0.95, true});
  fields.number("init_std", train.init_std, {0, 10});
  fields.one_of("precision", train.precision, {"f32", "bf16"});
  auto seed = static_cast<int64_t>(train.seed);
  fields.integer("seed", seed, {0, INT64_MAX});
  train.seed = static_cast<uint64_t>(seed);
  int64_t threads = train.threads;
  fields.integer("threads", threads, {0, 4096});
  train.threads = static_cast<int>(threads);
  fields.integer("eval_every", train.eval_every, {-1, kMaxCount});
  fields.integer("eval_sequences", train.eval_sequences, {0, kMaxCount});
  fields.integer("log_every", train.log_every, {1, kMaxCount});
  fields.integer("checkpoint_every", train.checkpoint_every, {0, kMaxCount});
  fields.integer("keep_last", train.keep_last, {1, kMaxCount});
  fields.flag("keep_best", train.keep_best);
  fields.integer("max_bad_steps", train.max_bad_steps, {1, kMaxCount});
  fields.path("init_from", train.init_from);
  size_t bf16 = train.weights == "bf16" ? 1 : 0;
  constexpr std::string_view formats[] = {"f32", "bf16"};
  fields.choice("weights", bf16, formats);
  train.weights = formats[bf16];
  fields.path("out", train.out);
}

void router_fields(Fields& fields, RouterTraining& router) {
  fields.one_of("choice", router.choice, {"token", "expert", "hash"});
  fields.one_of("noise", router.noise, {"none", "jitter", "gaussian"});
  fields.number("jitter", router.jitter, {0, 0.999, true});
  fields.number("capacity_factor", router.capacity_factor, {0, 1e6, true});
  fields.one_of("overflow", router.overflow, {"drop", "next_choice", "least_loaded"});
  fields.one_of("priority", router.priority, {"position", "score"});
}

void balance_fields(Fields& fields, AuxLoss& aux, BiasUpdate& bias) {
  fields.one_of("form", aux.form, {"none", "switch_top1", "deepseek", "megablocks", "transformers"});
  fields.one_of("scope", aux.scope, {"sequence", "micro_batch", "global_batch"});
  fields.number("coef", aux.coef, {0, 1e6, true});
  fields.number("z_coef", aux.z_coef, {0, 1e6, true});
  fields.one_of("bias_rule", bias.rule, {"none", "sign", "proportional"});
  fields.number("bias_rate", bias.rate, {0, 1e6});
  fields.one_of("bias_schedule", bias.schedule, {"constant", "lr"});
}

void data_fields(Fields& fields, DataConfig& data) {
  fields.path("tokenizer", data.tokenizer, "bytes");
  fields.number("weight_power", data.weight_power, {0, 10, true});
  fields.number("valid_fraction", data.valid_fraction, {0, 0.5, true});
}

void domain_fields(Fields& fields, DataDomain& domain, bool weighted) {
  fields.text("name", domain.name);
  fields.paths("paths", domain.paths);
  fields.text("field", domain.field);
  if (weighted) fields.number("weight", domain.weight, {0, 1e12, true});
}

}  // namespace moxie
