// A whole run in one process: the same bits however it is cut, faults told by name, balance kept.
#include "train/loop.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/file.h"
#include "store/safetensors.h"
#include "train/checkpoint.h"
#include "train/tiny.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

class Watcher : public TrainObserver {
 public:
  void on_step(const StepReport& report) override {
    losses.push_back(report.result.loss);
    if (report.step == stop_at) signals.stop = 15;
    if (report.step == save_at) signals.save = true;
    if (on_each) on_each(report.step);
  }
  void on_eval(int64_t step, const EvalReport& report) override { evals[step] = report; }
  void say(const std::string& line) override { said += line + "\n"; }

  TrainSignals signals;
  int64_t stop_at = 0, save_at = 0;
  std::function<void(int64_t)> on_each;
  std::vector<double> losses;
  std::map<int64_t, EvalReport> evals;
  std::string said;
};

TrainSummary run(const TrainConfig& config, Watcher& watcher, const std::string& resume = "none", int threads = 1) {
  ThreadPool pool(threads);
  return train(config, {.resume = resume}, choose_kernel_set(), pool, watcher, watcher.signals);
}

// metrics.jsonl without what a clock or a machine says, and without the events of stopping and going on.
std::string told(const fs::path& run_directory) {
  std::string out;
  const std::string text = read_file(run_directory / "metrics.jsonl", 1 << 24);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const json::Value line = json::parse(std::string_view(text).substr(begin, end - begin), {.source = "metrics"});
    begin = end + 1;
    const json::Value* kind = line.find("kind");
    if (kind != nullptr && kind->as_string() != "checkpoint") continue;
    json::Value kept;
    for (const json::Member& member : line.members()) {
      static const std::vector<std::string> kFree = {"seconds", "tokens_per_second", "mfu",
                                                     "started", "threads",           "name"};
      if (std::find(kFree.begin(), kFree.end(), member.key) == kFree.end()) kept.set(member.key, member.value);
    }
    out += kept.dump() + "\n";
  }
  return out;
}

std::string weights_of(const fs::path& run_directory) {
  return read_file(run_directory / "model/model.safetensors", 1 << 24);
}

class LoopTest : public testing::Test {
 protected:
  TrainConfig config(const std::string& out, std::vector<std::string> overrides = {}) {
    overrides.push_back("train.out=" + path(out).string());
    return test::tiny_config(directory_.path(), overrides);
  }
  fs::path path(const std::string& name) const { return directory_.path() / name; }

  test::ScratchDirectory directory_;
};

TEST_F(LoopTest, a_run_learns_and_leaves_a_model) {
  Watcher watcher;
  const TrainSummary summary = run(config("run", {"train.steps=60", "train.eval_every=20"}), watcher);
  EXPECT_EQ(summary.step, 60);
  EXPECT_EQ(summary.tokens, 60 * 4 * 32);
  EXPECT_NEAR(watcher.losses.front(), std::log(256), 0.3);
  EXPECT_LT(watcher.losses.back(), watcher.losses.front() - 1.5);
  EXPECT_LT(summary.valid_loss, watcher.evals.at(20).loss);
  EXPECT_EQ(summary.valid_loss, summary.nats_per_byte);  // a byte is a token
  for (const char* name : {"config.toml", "metrics.jsonl", "LOCK", "checkpoints/step-000060/DONE", "model/config.json",
                           "model/tokenizer.json", "model/model.safetensors"}) {
    EXPECT_TRUE(fs::exists(path("run") / name)) << name;
  }
  EXPECT_FALSE(fs::exists(path("run/checkpoints/step-000020")));  // keep_last 2, and the best is the last
  EXPECT_TRUE(fs::exists(path("run/checkpoints/step-000040")));
  const EvalReport& last = watcher.evals.at(60);
  ASSERT_EQ(last.layers.size(), 2u);
  EXPECT_TRUE(last.layers[0].saturation.has_value());
  EXPECT_FALSE(watcher.evals.at(20).layers[0].saturation.has_value());
}

TEST_F(LoopTest, stopped_and_resumed_runs_equal_the_unbroken_one_to_the_last_bit) {
  const std::vector<std::string> hard = {"router.noise=jitter", "train.dropout=0.1", "train.grad_accum=2",
                                         "train.precision=bf16"};
  Watcher whole;
  run(config("whole", hard), whole);
  std::vector<double> losses;
  for (int attempt = 0; attempt < 4; ++attempt) {
    Watcher part;
    part.stop_at = std::vector<int64_t>{3, 4, 9, 0}[static_cast<size_t>(attempt)];
    const TrainSummary summary = run(config("parts", hard), part, "auto");
    EXPECT_EQ(summary.stopped_by, attempt < 3 ? 15 : 0);
    losses.insert(losses.end(), part.losses.begin(), part.losses.end());
  }
  EXPECT_EQ(losses, whole.losses);
  EXPECT_EQ(weights_of(path("parts")), weights_of(path("whole")));
  std::string parts = told(path("parts"));
  // A save on a signal is an event that the unbroken run has not.
  for (const char* step : {"3", "9"}) {
    json::Value line;
    line.set("type", "event").set("step", int64_t{std::stoll(step)}).set("kind", "checkpoint");
    const std::string event = line.set("text", std::string("step-00000") + step).dump() + "\n";
    ASSERT_NE(parts.find(event), std::string::npos) << parts;
    parts.erase(parts.find(event), event.size());
  }
  EXPECT_EQ(parts, told(path("whole")));
}

TEST_F(LoopTest, selection_biases_come_back_too) {
  const std::vector<std::string> sigmoid = {"model.model_type=glm4_moe",
                                            "model.n_routed_experts=4",
                                            "model.n_shared_experts=1",
                                            "model.first_k_dense_replace=1",
                                            "model.n_group=1",
                                            "model.topk_group=1",
                                            "model.routed_scaling_factor=1.0",
                                            "balance.bias_rule=sign",
                                            "balance.bias_rate=0.01",
                                            "balance.coef=0.0"};
  Watcher whole, first, second;
  run(config("whole", sigmoid), whole);
  first.stop_at = 5;
  run(config("parts", sigmoid), first, "auto");
  run(config("parts", sigmoid), second, "auto");
  EXPECT_EQ(weights_of(path("parts")), weights_of(path("whole")));
  const Checkpoint model = Checkpoint::open(path("whole/model"));
  const Tensor* bias = model.find("model.layers.1.mlp.gate.e_score_correction_bias");
  ASSERT_NE(bias, nullptr);
  double moved = 0;
  for (int i = 0; i < 4; ++i) moved += std::abs(bias->view.f32()[i]);
  EXPECT_GT(moved, 0);
}

TEST_F(LoopTest, selection_biases_move_less_as_the_learning_rate_falls) {
  const auto largest_bias = [&](const char* name, const char* schedule) {
    Watcher watcher;
    run(config(name, {"model.model_type=glm4_moe", "model.n_routed_experts=4", "model.n_shared_experts=0",
                      "model.first_k_dense_replace=0", "model.n_group=1", "model.topk_group=1",
                      "model.routed_scaling_factor=1.0", "train.schedule=linear", "train.min_lr=0", "train.warmup=0",
                      "balance.bias_rule=sign", "balance.bias_rate=0.01", "balance.coef=0.0",
                      std::string("balance.bias_schedule=") + schedule}),
        watcher);
    const Checkpoint model = Checkpoint::open(path(std::string(name) + "/model"));
    const float* bias = model.find("model.layers.0.mlp.gate.e_score_correction_bias")->view.f32();
    return std::max(std::abs(*std::max_element(bias, bias + 4)), std::abs(*std::min_element(bias, bias + 4)));
  };
  LoopConfig loop;
  loop.steps = config("steps").train.steps;
  loop.schedule = Schedule::linear;
  loop.warmup = 0;
  double furthest = 0;  // always in one direction
  for (int64_t step = 1; step <= loop.steps; ++step) furthest += 0.01 * rate_decay(loop, step);
  const float falling = largest_bias("falling", "lr"), constant = largest_bias("constant", "constant");
  EXPECT_GT(falling, 0);
  EXPECT_LE(falling, furthest * (1 + 1e-5));
  EXPECT_NE(falling, constant);
}

TEST_F(LoopTest, threads_do_not_change_what_is_told) {
  Watcher one, two;
  run(config("one"), one, "none", 1);
  run(config("two"), two, "none", 2);
  EXPECT_EQ(one.losses, two.losses);
  EXPECT_EQ(told(path("one")), told(path("two")));
  EXPECT_EQ(weights_of(path("one")), weights_of(path("two")));
}

TEST_F(LoopTest, a_damaged_checkpoint_is_skipped_and_the_end_is_the_same) {
  Watcher whole, first, second;
  run(config("whole"), whole);
  first.stop_at = 9;
  run(config("parts"), first);
  fs::resize_file(path("parts/checkpoints/step-000009/optimizer.safetensors"), 1000);
  run(config("parts"), second, "auto");
  EXPECT_NE(second.said.find("step-000009"), std::string::npos) << second.said;
  EXPECT_NE(second.said.find("optimizer.safetensors"), std::string::npos) << second.said;
  EXPECT_EQ(second.losses.size(), 4u);  // 9 to 12
  EXPECT_EQ(weights_of(path("parts")), weights_of(path("whole")));
  EXPECT_EQ(told(path("parts")), told(path("whole")));
}

TEST_F(LoopTest, resume_goes_back_to_a_step_and_forgets_later_ones) {
  Watcher whole, again;
  run(config("run"), whole);
  const std::string before = told(path("run"));
  run(config("run"), again, "8");
  EXPECT_NE(again.said.find("checkpoint of step 12 is removed"), std::string::npos) << again.said;
  EXPECT_EQ(told(path("run")), before);
}

TEST_F(LoopTest, a_finished_run_tells_its_numbers_again) {
  Watcher first, second;
  const TrainSummary done = run(config("run"), first), again = run(config("run"), second, "auto");
  EXPECT_TRUE(second.losses.empty());
  EXPECT_EQ(again.step, done.step);
  EXPECT_EQ(again.loss, done.loss);
  EXPECT_EQ(again.valid_loss, done.valid_loss);
  EXPECT_EQ(again.model, done.model);
}

TEST_F(LoopTest, a_resume_on_other_kernels_is_told) {
  const KernelSet& ref = *find_kernel_set("ref");
  if (choose_kernel_set().name == ref.name) GTEST_SKIP() << "this machine has one kernel set";
  Watcher first, second;
  first.stop_at = 2;
  run(config("run"), first);
  second.stop_at = 3;
  ThreadPool pool(1);
  train(config("run"), {.resume = "auto"}, ref, pool, second, second.signals);
  EXPECT_NE(second.said.find("now they are ref"), std::string::npos) << second.said;
}

TEST_F(LoopTest, without_validation_text_nothing_is_evaluated) {
  Watcher watcher;
  const TrainSummary done = run(config("run", {"data.valid_fraction=0"}), watcher);
  EXPECT_TRUE(watcher.evals.empty());
  EXPECT_TRUE(std::isnan(done.valid_loss));
  EXPECT_NE(watcher.said.find("no text is kept for validation"), std::string::npos) << watcher.said;
  EXPECT_EQ(told(path("run")).find("\"eval\""), std::string::npos);
}

TEST_F(LoopTest, resume_of_a_step_that_was_not_saved_names_those_that_were) {
  Watcher first, second;
  run(config("run"), first);
  try {
    run(config("run"), second, "7");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_NE(error.text().find("12, "), std::string::npos) << error.text();
  }
}

TEST_F(LoopTest, a_run_with_checkpoints_is_not_overwritten) {
  Watcher first, second;
  run(config("run"), first);
  try {
    run(config("run"), second);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_NE(error.text().find("--resume auto"), std::string::npos) << error.text();
  }
}

TEST_F(LoopTest, a_changed_file_or_key_is_refused_by_name) {
  Watcher first;
  first.stop_at = 5;
  run(config("run"), first);
  const auto refusal = [&](const TrainConfig& changed) {
    Watcher watcher;
    try {
      run(changed, watcher, "auto");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid);
      return error.text();
    }
    return std::string("none");
  };
  EXPECT_NE(refusal(config("run", {"train.lr=0.5"})).find("train.lr: the run has"), std::string::npos);
  EXPECT_NE(refusal(config("run", {"train.seed=9"})).find("train.seed"), std::string::npos);
  const TrainConfig same = config("run");
  std::string text = test::tiny_text();
  text[100] = '#';
  std::ofstream(path("text.txt")) << text;
  EXPECT_NE(refusal(same).find("text.txt"), std::string::npos) << refusal(same);
  EXPECT_EQ(refusal(config("run", {"train.steps=6", "train.log_every=5", "train.keep_last=7"})), "none");
}

TEST_F(LoopTest, weights_that_are_no_numbers_stop_the_run_by_name) {
  Watcher watcher;
  try {
    TrainConfig wild = config("run", {"train.max_bad_steps=3"});
    wild.train.lr = 1e30;
    run(wild, watcher);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.text().find("3 steps in a row were not finite"), std::string::npos) << error.text();
    EXPECT_NE(error.text().find("model."), std::string::npos) << error.text();
    EXPECT_NE(error.text().find("samples "), std::string::npos) << error.text();
    EXPECT_NE(error.text().find("the same bits"), std::string::npos) << error.text();
  }
  EXPECT_NE(watcher.said.find("bad_step"), std::string::npos) << watcher.said;
}

TEST_F(LoopTest, saves_that_fail_are_told_and_the_third_in_a_row_stops) {
  Watcher watcher;
  watcher.on_each = [&](int64_t step) {
    if (step == 3) {  // a file where the directory was: nothing can be saved below it, whoever we are
      fs::remove_all(path("run/checkpoints"));
      std::ofstream(path("run/checkpoints")) << "in the way";
    }
  };
  try {
    run(config("run", {"train.checkpoint_every=2"}), watcher);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.text().find("Three saves in a row failed: the run stops at step 8"), std::string::npos)
        << error.text();
  }
  EXPECT_NE(watcher.said.find("bytes needed"), std::string::npos) << watcher.said;
}

TEST_F(LoopTest, a_signal_to_save_saves_and_goes_on) {
  Watcher watcher;
  bool saved = false;
  watcher.on_each = [&](int64_t step) { saved |= step == 7 && fs::exists(path("run/checkpoints/step-000006/DONE")); };
  watcher.save_at = 6;
  EXPECT_EQ(run(config("run"), watcher).step, 12);
  EXPECT_TRUE(saved);
}

TEST_F(LoopTest, a_signal_to_save_where_a_save_is_due_is_one_save) {
  Watcher watcher;
  bool saved_again = false;
  watcher.on_each = [&](int64_t step) { saved_again |= step == 6 && fs::exists(path("run/checkpoints/step-000005")); };
  watcher.save_at = 4;
  run(config("run"), watcher);
  EXPECT_FALSE(saved_again);
}

TEST_F(LoopTest, a_best_that_can_never_be_told_is_noticed) {
  const auto told_of = [&](const char* name, const char* checkpoint_every) {
    Watcher watcher;
    watcher.stop_at = 1;
    run(config(name, {checkpoint_every}), watcher);
    return watcher.said.find("train.keep_best keeps nothing") != std::string::npos;
  };
  EXPECT_FALSE(told_of("same", "train.checkpoint_every=0"));
  EXPECT_FALSE(told_of("meets", "train.checkpoint_every=2"));
  EXPECT_TRUE(told_of("misses", "train.checkpoint_every=5"));
}

TEST_F(LoopTest, collapse_is_told_within_a_hundred_steps) {
  TrainConfig broken = config("run", {"train.steps=100", "train.eval_every=-1", "balance.coef=0.0", "train.lr=1e-4"});
  std::vector<MoeStats> stats(2);
  for (MoeStats& load : stats) {
    load.reset(4);
    load.num_tokens = 128;
    load.tokens_per_expert = {60, 66, 64, 66};
  }
  TrainState state;
  std::vector<RunEvent> events;
  int64_t told_at = 0;
  for (int64_t step = 1; step <= 200; ++step) {
    if (step == 50) stats[1].tokens_per_expert = {128, 104, 24, 0};
    for (RunEvent& event : watch_collapse(state, broken, stats)) {
      events.push_back(event);
      told_at = step;
    }
  }
  ASSERT_EQ(events.size(), 1u);
  EXPECT_LE(told_at, 150);
  EXPECT_EQ(
      events[0].text,
      "layer 1 sends 100% of its tokens to 1 of 4 experts; 1 is dead. Raise balance.coef (now 0), or use a family "
      "with a selection bias.");
}

TEST_F(LoopTest, a_loss_that_jumps_is_a_spike_and_noise_is_not) {
  TrainState state;
  for (int i = 0; i < 50; ++i) remember_loss(state, 3 + 0.05 * (i % 3));
  EXPECT_FALSE(loss_spike(state, 3.4).has_value());
  EXPECT_TRUE(loss_spike(state, 3.7).has_value());
  remember_loss(state, 9);
  EXPECT_EQ(state.recent_losses.size(), kSpikeWindow);
  EXPECT_FALSE(loss_spike(state, 3.7).has_value());
}

}  // namespace
}  // namespace moxie
