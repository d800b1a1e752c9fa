// Configurations as users write them: defaults, overrides, round trips, and what each mistake is told.
#include "train/config.h"

#include <gtest/gtest.h>

#include <sstream>

#include "support.h"

namespace moxie {
namespace {

const std::string kModel = R"([model]
model_type = "qwen3_moe"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
moe_intermediate_size = 16
intermediate_size = 64
num_experts = 8
num_experts_per_tok = 2
norm_topk_prob = true
)";
const std::string kData = R"([[data.domains]]
name = "play"
paths = "play.txt"
)";

class Config : public ::testing::Test {
 protected:
  TrainConfig load(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return load_train_config(folder_.write("run.toml", text), overrides);
  }
  std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return error_text([&] { load(text, overrides); });
  }
  TempFolder folder_;
};

TEST_F(Config, takes_defaults_from_data_and_loop) {
  const TrainConfig config = load(kModel + kData);
  EXPECT_EQ(config.spec.vocab_size, 256);
  EXPECT_EQ(config.spec.max_position, config.train.seq_len);
  EXPECT_EQ(config.spec.layers[1].ffn.num_experts, 8);
  EXPECT_TRUE(config.spec.eos_token_ids.empty());
  EXPECT_EQ(config.model.find("architectures")->items()[0].as_string(), "Qwen3MoeForCausalLM");
  EXPECT_EQ(config.data.domains[0].paths[0], (folder_.path() / "play.txt").string());
  EXPECT_EQ(config.train.lr, 1e-3);
  EXPECT_EQ(config.aux.form, AuxForm::megablocks);
}

TEST_F(Config, reads_every_table) {
  const TrainConfig config = load(kModel + R"([data]
weight_power = 0.7
valid_fraction = 0.1
[[data.domains]]
paths = ["a/b.txt", "/c.jsonl"]
field = "body"
weight = 3
[[data.domains]]
paths = "d.bin"
weight = 1.5
[[data.valid]]
name = "b"
paths = "v.txt"
[train]
steps = 20
schedule = "wsd"
precision = "bf16"
keep_best = false
out = "../runs/x"
[router]
noise = "jitter"
jitter = 0.02
capacity_factor = 1.25
overflow = "next_choice"
priority = "score"
[balance]
form = "switch_top1"
scope = "global_batch"
coef = 0.01
z_coef = 1e-3
)");
  ASSERT_EQ(config.data.domains.size(), 2u);
  EXPECT_EQ(config.data.domains[0].name, "b");
  EXPECT_EQ(config.data.domains[0].paths[1], "/c.jsonl");
  EXPECT_EQ(config.data.domains[0].field, "body");
  EXPECT_EQ(config.data.domains[1].weight, 1.5);
  EXPECT_EQ(config.data.valid[0].name, "b");
  EXPECT_EQ(config.data.weight_power, 0.7);
  EXPECT_EQ(config.train.schedule, Schedule::wsd);
  EXPECT_EQ(config.train.precision, Precision::bf16);
  EXPECT_FALSE(config.train.keep_best);
  EXPECT_EQ(config.train.out, (folder_.path().parent_path() / "runs/x").string());
  EXPECT_EQ(config.router.noise, RouterNoise::jitter);
  EXPECT_EQ(config.router.jitter, 0.02f);
  EXPECT_EQ(config.router.capacity_factor, 1.25);
  EXPECT_EQ(config.router.overflow, Overflow::next_choice);
  EXPECT_EQ(config.router.priority, Priority::score);
  EXPECT_EQ(config.aux.form, AuxForm::switch_top1);
  EXPECT_EQ(config.aux.scope, AuxScope::global_batch);
  EXPECT_EQ(config.aux.coef, 0.01f);
  EXPECT_EQ(config.aux.z_coef, 1e-3f);
}

TEST_F(Config, overrides_beat_the_file_and_the_last_one_wins) {
  const TrainConfig config =
      load(kModel + kData + "[train]\nsteps = 5\n",
           {"train.steps=2000", "train.schedule=linear", "model.num_experts=32", "train.lr=3e-4", "train.steps=7",
            "model.rope_scaling.rope_type=linear", "model.rope_scaling.factor=2.0", "train.out=7"});
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.train.schedule, Schedule::linear);
  EXPECT_EQ(config.spec.layers[0].ffn.num_experts, 32);
  EXPECT_EQ(config.train.lr, 3e-4);
  EXPECT_EQ(config.spec.rope.scaling, RopeScaling::linear);
  EXPECT_EQ(config.train.out, (std::filesystem::current_path() / "7").string());
}

TEST_F(Config, resolved_text_reads_back_to_itself) {
  const TrainConfig config =
      load(kModel +
           "rope_theta = 5e5\nsliding_window = \"null\"\nlayer_types = [\"full_attention\", \"full_attention\"]\n"
           "\"odd key\" = {a = 1.0, b = [1, 2.5, \"x\\n\\\"\\u007f\"], c = true}\n" +
           kData + "[train]\nlr = 0.1234567890123\nseed = 9223372036854775807\n[balance]\ncoef = 0.1\n");
  const std::string text = to_toml(config);
  const TrainConfig again = load_train_config(folder_.write("resolved.toml", text), {});
  EXPECT_EQ(to_toml(again), text);
  EXPECT_EQ(again.model.dump(), config.model.dump());
  EXPECT_EQ(again.train.lr, config.train.lr);
  EXPECT_EQ(again.train.seed, config.train.seed);
  EXPECT_EQ(again.aux.coef, config.aux.coef);
  EXPECT_TRUE(again.model.find("sliding_window")->is_null());
  EXPECT_EQ(again.model.find("rope_theta")->type(), json::Type::number);
}

TEST_F(Config, names_line_key_and_the_nearest_known_one) {
  const std::string text = refusal(kModel + kData + "[train]\nwarmpu = 0.1\n");
  EXPECT_CONTAINS(text, "run.toml:16: train.warmpu");
  EXPECT_CONTAINS(text, "Did you mean warmup?");
  EXPECT_CONTAINS(refusal(kModel + kData + "[trian]\n"), "Did you mean train?");
  EXPECT_CONTAINS(refusal(kModel + kData + "wieght = 1\n"), "Did you mean weight?");
  EXPECT_CONTAINS(refusal(kModel + kData + "[train]\nschedule = \"cosin\"\n"), "Did you mean cosine?");
  EXPECT_CONTAINS(refusal(kModel + kData, {"train.stepz=3"}), "--train.stepz=3");
}

TEST_F(Config, refuses_values_of_another_type_or_range) {
  const std::string text = refusal(kModel + kData + "[train]\nsteps = 0\n");
  EXPECT_CONTAINS(text, "run.toml:16: train.steps");
  EXPECT_CONTAINS(text, "got 0");
  EXPECT_CONTAINS(refusal(kModel + kData + "[train]\nlr = nan\n"), "train.lr");
  EXPECT_CONTAINS(refusal(kModel + kData + "[train]\nlr = \"fast\"\n"), "a number above 0");
  EXPECT_CONTAINS(refusal(kModel + kData + "[train]\nsteps = 1.5\n"), "an integer");
  EXPECT_CONTAINS(refusal(kModel + kData + "[train]\nkeep_best = 1\n"), "true or false");
  EXPECT_CONTAINS(refusal(kModel + kData, {"train.dropout=1"}), "--train.dropout=1");
  EXPECT_CONTAINS(refusal(kModel + "[[data.domains]]\nname = \"x\"\n"), "data.domains.paths");
  EXPECT_CONTAINS(refusal(kModel + "[data]\ndomains = 3\n"), "[[data.domains]]");
  EXPECT_CONTAINS(refusal(kModel), "data.domains");
  EXPECT_CONTAINS(refusal(kData), "[model]");
  EXPECT_CONTAINS(refusal("[model\n"), "run.toml:1");
  EXPECT_CONTAINS(refusal(kModel + kData + "[\n"), "run.toml: expected TOML");
  EXPECT_CONTAINS(refusal(kModel + kData, {"train.steps=1\n[\n"}), "an integer");
  EXPECT_CONTAINS(refusal("model = 3\n"), "a table");
}

TEST_F(Config, takes_other_letters_in_strings_and_comments_alone) {
  const std::string beside = "# naïve\n[train]\nout = ";
  for (const char* value : {R"("é")", R"('é')", "\"\"\"\né\"é\"\"\"", "'''é''é'''", R"("\"é")", R"("""\\ é""")"}) {
    EXPECT_CONTAINS(load(kModel + kData + beside + value + "\n").train.out, "é");
  }
  EXPECT_CONTAINS(load(kModel + kData, {"train.out=é"}).train.out, "é");
  EXPECT_CONTAINS(load(kModel + kData, {"train.out=\xEF\xBB\xBFx"}).train.out, "x");  // a byte order mark
  for (const char* text : {"é = 1", R"(""é = 1)", R"('x'."y" = 1 é)", "\xEF\xBB\xB7", "\xEF\xBB\xBF\xC2\xA0"}) {
    EXPECT_CONTAINS(refusal(text), "run.toml:1: expected TOML: ASCII outside strings and comments");
  }
  EXPECT_CONTAINS(refusal("a = 'é' # é\n\nb = 3é"), "run.toml:3: expected TOML: ASCII");
  for (const char* text : {"a = 1x\"é\"", "a = 1=\"é\"", "a = 1[\"é\"", "a = [\n1\"é\"]"}) {  // the reader looks ahead
    EXPECT_CONTAINS(refusal(text), "ASCII");
  }
  EXPECT_CONTAINS(refusal(R"(a = """\é""")"), "ASCII");                 // no escape
  EXPECT_CONTAINS(refusal("a = \"\"\"\\ \n\n é\"\"\""), "run.toml:3");  // a line that goes on
}

TEST_F(Config, gives_model_faults_their_line) {
  std::string text = kModel;
  text.replace(text.find("hidden_size = 32"), 16, "hidden_size = -1");
  const std::string refused = refusal(text + kData);
  EXPECT_CONTAINS(refused, "run.toml:3: model.hidden_size: expected an integer");
  EXPECT_CONTAINS(refused, "got -1");
  EXPECT_CONTAINS(refusal(kModel + kData, {"model.num_experts_per_tok=9"}), "--model.num_experts_per_tok=9: expected");
  EXPECT_CONTAINS(refusal("[model]\n" + kData), "model.model_type: expected one of");
  EXPECT_CONTAINS(refusal(kModel + "when = 2020-01-01\n" + kData), "model.when");
}

TEST_F(Config, refuses_malformed_overrides_as_usage) {
  for (const char* text : {"steps=3", "train.steps", "=", "train.=1", ".steps=1", "train..x=1", "data.domains.x=1",
                           "data.domains=3", "train=3", "model.num_experts.x=1"}) {
    try {
      load(kModel + kData, {text});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << text << ": " << error.text();
    }
  }
}

TEST_F(Config, keeps_an_override_within_its_key) {
  const std::string text = refusal(kModel + kData, {"train.schedule=cosine\nv2 = 3"});
  EXPECT_CONTAINS(text, "train.schedule");
}

TEST_F(Config, refuses_top_1_with_a_renormalised_gate) {
  const std::string text = refusal(kModel + kData, {"model.num_experts_per_tok=1"});
  EXPECT_CONTAINS(text, "model.norm_topk_prob");
  EXPECT_CONTAINS(text, "norm_topk_prob = false");
  EXPECT_NO_THROW(load(kModel + kData, {"model.num_experts_per_tok=1", "model.norm_topk_prob=false"}));
  EXPECT_NO_THROW(load(kModel + kData, {"model.num_experts_per_tok=1", "router.choice=hash"}));
  EXPECT_CONTAINS(refusal(kModel + kData, {"model.num_experts_per_tok=1", "model.model_type=mixtral"}),
                  "mixtral always renormalises");
}

TEST_F(Config, wants_a_selection_bias_for_a_bias_rule) {
  const std::string text = refusal(kModel + kData, {"balance.bias_rule=sign"});
  EXPECT_CONTAINS(text, "glm4_moe, deepseek_v3");
  const TrainConfig config =
      load(kModel + "n_routed_experts = 8\n" + kData, {"balance.bias_rule=sign", "model.model_type=glm4_moe"});
  EXPECT_EQ(config.bias.rule, BiasRule::sign);
}

TEST_F(Config, marks_expert_choice_as_not_causal) {
  const TrainConfig config = load(kModel + kData, {"router.choice=expert"});
  ASSERT_FALSE(config.spec.notices.empty());
  EXPECT_CONTAINS(config.spec.notices.back(), "not causal");
}

TEST_F(Config, says_that_hash_routing_leaves_no_useful_model) {
  const TrainConfig config = load(kModel + kData, {"router.choice=hash"});
  ASSERT_FALSE(config.spec.notices.empty());
  EXPECT_CONTAINS(config.spec.notices.back(), "of no use");
}

TEST_F(Config, refuses_values_that_do_not_go_together) {
  EXPECT_CONTAINS(refusal(kModel + kData, {"model.max_position_embeddings=64"}), "train.seq_len");
  EXPECT_CONTAINS(refusal(kModel + kData, {"train.min_lr=1"}), "train.min_lr");
  EXPECT_CONTAINS(refusal(kModel + kData, {"train.warmup=5000"}), "train.warmup");
  EXPECT_CONTAINS(refusal(kModel + kData, {"model.vocab_size=65"}), "at least 256");
  EXPECT_CONTAINS(refusal(kModel + kData, {"router.choice=hash", "balance.coef=0.1"}), "balance.coef");
  EXPECT_CONTAINS(refusal(kModel + kData + kData), "play twice");
  EXPECT_CONTAINS(refusal(kModel + kData + "weight = 1\n[[data.domains]]\npaths = \"q\"\n"), "a weight for every");
  EXPECT_CONTAINS(refusal(kModel + kData + "[[data.valid]]\nname = \"z\"\npaths = \"q\"\n"), "the name of a domain");
}

// Rows are numbered in 32 bits.
TEST_F(Config, refuses_more_rows_in_a_micro_batch_than_can_be_numbered) {
  const std::string batch = "train.batch_size=65536", seq = "train.seq_len=4096", k = "model.num_experts_per_tok=";
  EXPECT_CONTAINS(refusal(kModel + kData, {batch, seq, k + "8"}), "65536 sequences of 4096, 8 choices a token");
  EXPECT_NO_THROW(load(kModel + kData, {batch, seq, k + "7"}));
  EXPECT_CONTAINS(refusal(kModel + kData, {batch, seq, "router.choice=expert"}), "train.batch_size");
}

TEST_F(Config, example_is_a_configuration) {
  const TrainConfig config = load_train_config(MOXIE_SOURCE_DIR "/configs/tiny-moe.toml", {});
  EXPECT_EQ(config.spec.layers.size(), 4u);
  EXPECT_EQ(config.spec.vocab_size, 256);
  EXPECT_TRUE(std::filesystem::exists(config.data.domains[0].paths[0]));
  EXPECT_TRUE(config.spec.notices.empty());
}

// configs/README.md lists every key that the resolved text has.
TEST_F(Config, every_key_is_documented) {
  std::ifstream file(MOXIE_SOURCE_DIR "/configs/README.md");
  const std::string readme((std::istreambuf_iterator<char>(file)), {});
  std::istringstream lines(to_toml(load(kData + kModel)));
  bool in_model = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("[")) in_model = line == "[model]";
    const size_t equals = line.find(" = ");
    if (in_model || equals == std::string::npos) continue;
    const std::string key = line.substr(0, equals);
    const bool listed =
        readme.find("| " + key + " |") != std::string::npos || readme.find("| " + key + ",") != std::string::npos ||
        readme.find(", " + key + " |") != std::string::npos || readme.find(", " + key + ",") != std::string::npos;
    EXPECT_TRUE(listed) << key;
  }
}

TEST_F(Config, names_files_that_cannot_be_read) {
  EXPECT_CONTAINS(error_text([&] { load_train_config(folder_.path() / "none.toml", {}); }), "none.toml");
  EXPECT_CONTAINS(error_text([&] { load_train_config(folder_.path(), {}); }), "a directory");
}

}  // namespace
}  // namespace moxie
