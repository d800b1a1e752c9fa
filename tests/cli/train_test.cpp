// moxie train as a process: its answer, its refusals, signals, kills at random moments, and two runs at one place.
#include <random>
#include <thread>

#include "cli/child.h"

namespace moxie::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kConfig = R"([model]
model_type = "qwen3_moe"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
num_experts = 4
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
steps = 12
batch_size = 2
seq_len = 32
lr = 3e-3
log_every = 1
eval_every = 6
eval_sequences = 4
threads = 1
out = "run"

[balance]
coef = 0.01
)";

class Train : public Workspace {
 protected:
  Train() {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "line " + std::to_string(i * i % 97) + " of the text, and one more word.\n";
    write("text.txt", text);
    config_ = write("tiny.toml", kConfig);
  }

  std::vector<std::string> words(std::vector<std::string> more) const {
    std::vector<std::string> all = {"train", "--config", config_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  // Lines of metrics.jsonl of steps and evaluations, without what the clock says.
  std::string told(const std::string& run) const {
    std::istringstream lines(contents(path(run + "/metrics.jsonl")));
    std::string out;
    for (std::string text; std::getline(lines, text);) {
      const json::Value line = json::parse(text, {.source = "metrics.jsonl"});
      const std::string type = line.find("type")->as_string();
      if (type == "run" || type == "event") continue;
      json::Value kept;
      for (const json::Member& member : line.members()) {
        if (member.key != "seconds" && member.key != "tokens_per_second" && member.key != "mfu") {
          kept.set(member.key, member.value);
        }
      }
      out += kept.dump() + "\n";
    }
    return out;
  }

  std::string config_;
};

TEST_F(Train, leaves_a_model_that_runs) {
  const Ran trained = run(words({}));
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_TRUE(contains(trained.out, "nats/byte")) << trained.out;
  EXPECT_TRUE(contains(trained.out, "moxie run " + path("run/model"))) << trained.out;
  for (const char* part : {"step 1/12 loss ", " gnorm ", " lr ", " tok/s ", " mem ", " aux ", " max/mean ", " drop ",
                           " eta ", "eval step 6 loss "}) {
    EXPECT_TRUE(contains(trained.err, part)) << part << "\n" << trained.err;
  }
  const Ran ran = run({"run", path("run/model"), "line", "-n", "4", "--raw"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
}

TEST_F(Train, json_is_one_object) {
  const Ran trained = run(words({"--json", "--steps", "3", "--out", path("other")}));
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  const json::Value answer = json_of(trained);
  EXPECT_EQ(answer.find("step")->as_int(), 3);
  EXPECT_EQ(answer.find("tokens")->as_int(), 3 * 2 * 32);
  EXPECT_EQ(answer.find("model")->as_string(), path("other/model"));
  EXPECT_GT(answer.find("valid_loss")->as_double(), 1);
}

TEST_F(Train, a_dry_run_prints_the_plan_and_writes_nothing) {
  const Ran plan = run(words({"--dry-run"}));
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  for (const char* part : {"parameters", "active", "tokens", "FLOPs", "memory", "time"}) {
    EXPECT_TRUE(contains(plan.out, part)) << part << "\n" << plan.out;
  }
  EXPECT_FALSE(std::filesystem::exists(path("run")));
  const json::Value numbers = json_of(run(words({"--dry-run", "--json", "--train.steps=100"})));
  EXPECT_EQ(numbers.find("steps")->as_int(), 100);
  EXPECT_GT(numbers.find("memory_bytes")->as_double(), 16 * numbers.find("parameters_total")->as_double());
}

TEST_F(Train, a_run_that_does_not_fit_is_refused_before_it_starts) {
  const Ran large = run(words({"--model.moe_intermediate_size=16777216", "--model.num_experts=256"}));
  EXPECT_EQ(large.exit_code, 4) << large.err;
  EXPECT_TRUE(contains(large.err, "train.grad_accum")) << large.err;
  EXPECT_FALSE(std::filesystem::exists(path("run")));
}

TEST_F(Train, the_twin_is_dense_and_says_both_sizes) {
  const Ran trained = run({"train", "--twin", config_, "--steps", "2"});
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_TRUE(contains(trained.err, "dense twin")) << trained.err;
  const json::Value config = json::parse(contents(path("run-dense/model/config.json")), {.source = "config.json"});
  EXPECT_EQ(config.find("model_type")->as_string(), "qwen3");
  EXPECT_EQ(config.find("intermediate_size")->as_int(), 64);
  EXPECT_TRUE(contains(run(words({"--twin", "--dry-run"})).err, "dense twin"));
}

TEST_F(Train, wrong_words_are_usage_errors_and_wrong_keys_are_named) {
  EXPECT_EQ(run({"train"}).exit_code, 2);
  EXPECT_EQ(run(words({"surprise"})).exit_code, 2);
  EXPECT_EQ(run(words({"--surprise"})).exit_code, 2);
  EXPECT_EQ(run(words({"--resume", "maybe"})).exit_code, 2);
  const Ran unknown = run(words({"--train.stepz=3"}));
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_TRUE(contains(unknown.err, "stepz")) << unknown.err;
}

TEST_F(Train, a_second_start_at_the_same_place_is_refused) {
  Child first(words({"--train.steps=1000000"}), {});
  while (!contains(first.err, "step 1/")) first.read_more();
  const Ran second = run(words({}));
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_TRUE(contains(second.err, "in use by process ")) << second.err;
  first.send(SIGTERM);
  EXPECT_EQ(first.finish(), 143);
  const Ran third = run(words({}));
  EXPECT_EQ(third.exit_code, 2);
  EXPECT_TRUE(contains(third.err, "--resume auto")) << third.err;
}

TEST_F(Train, signals_save_and_say_how_to_go_on) {
  const std::pair<int, int> signals[] = {{SIGTERM, 143}, {SIGINT, 130}};
  for (const auto& [signal, code] : signals) {
    const std::string out = path("run" + std::to_string(code));
    Child child(words({"--steps", "1000000", "--out", out}), {});
    while (!contains(child.err, "step 1/")) child.read_more();
    child.send(signal);
    EXPECT_EQ(child.finish(), code);
    EXPECT_TRUE(contains(child.err, "saved " + out + "/checkpoints/step-")) << child.err;
    EXPECT_TRUE(contains(child.err, "--resume auto")) << child.err;
  }
}

TEST_F(Train, kills_at_random_moments_lose_nothing_and_change_no_bit) {
  const std::vector<std::string> common = {"--train.steps=40", "--train.checkpoint_every=2", "--train.eval_every=20"};
  const auto with_out = [&](const char* name, std::vector<std::string> more = {}) {
    std::vector<std::string> all = words(common);
    all.insert(all.end(), {"--out", path(name)});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  ASSERT_EQ(run(with_out("whole")).exit_code, 0);
  std::mt19937 random(4);
  int killed = 0;
  for (int i = 0; i < 20; ++i) {
    Child child(with_out("parts", {"--resume", "auto"}), {});
    std::this_thread::sleep_for(std::chrono::microseconds(20000 + random() % 280000));
    child.send(SIGKILL);
    killed += child.finish() == 137 ? 1 : 0;
    EXPECT_FALSE(contains(child.err, "is skipped")) << child.err;  // no checkpoint was ever half there
  }
  EXPECT_GT(killed, 2);
  const Ran last = run(with_out("parts", {"--resume", "auto"}));
  ASSERT_EQ(last.exit_code, 0) << last.err;
  EXPECT_EQ(told("parts"), told("whole"));
  EXPECT_TRUE(contents(path("parts/model/model.safetensors")) == contents(path("whole/model/model.safetensors")));
}

}  // namespace
}  // namespace moxie::test
