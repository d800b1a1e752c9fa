// What a checkpoint must hold: every fault is named, all of them in one message, and nothing of it crashes.
#include <gtest/gtest.h>

#include "model/copies.h"
#include "model/runner.h"

namespace moxie {
namespace {

using test::CheckpointCopy;
using test::data_dir;

// What loading a model says once `change` has been made to its checkpoint.
template <typename Change>
std::string refusal_with(const std::string& model, Change change) {
  CheckpointCopy copy(data_dir(model));
  change(copy);
  const std::filesystem::path directory = copy.write();
  return refusal_of([&] { Model::load(directory); });
}

constexpr const char* kQwen = "golden/qwen3_moe";  // three layers of 16 experts, a tensor each
const std::string kExpert = "model.layers.1.mlp.experts.";

TEST(Binder, lists_every_fault_of_a_checkpoint_in_one_error) {
  const std::string text = refusal_with(kQwen, [](CheckpointCopy& copy) {
    copy.remove("model.norm.weight");
    copy.remove("model.layers.0.self_attn.q_norm.weight");
    copy["model.layers.2.self_attn.o_proj.weight"].shape = {64, 32};  // the same bytes
    copy["model.layers.2.self_attn.o_proj.weight"].row_bytes = 128;
    copy["model.layers.2.mlp.gate.weight"].format = FormatId::i32;
    copy.add("model.layers.1.mlp.surprise.weight", copy.zeros({3}));
  });
  EXPECT_TRUE(
      says(text, {"model.safetensors", "2 missing:", "model.norm.weight", "model.layers.0.self_attn.q_norm.weight",
                  "1 of another shape:", "model.layers.2.self_attn.o_proj.weight: expected [32, 64], got [64, 32]",
                  "1 in a format that cannot be computed with:", "model.layers.2.mlp.gate.weight is i32", "1 extra",
                  "model.layers.1.mlp.surprise.weight"}));
}

TEST(Binder, names_the_expert_that_is_missing) {
  const std::string text =
      refusal_with(kQwen, [](CheckpointCopy& copy) { copy.remove(kExpert + "15.up_proj.weight"); });
  EXPECT_TRUE(says(text, {"1 missing:", kExpert + "15.up_proj.weight"}));
  EXPECT_EQ(text.find("extra"), std::string::npos);
}

TEST(Binder, names_the_expert_that_is_one_too_many) {
  const std::string text = refusal_with(kQwen, [](CheckpointCopy& copy) {
    copy.add(kExpert + "16.up_proj.weight", copy.zeros({32, 32}));
  });
  EXPECT_TRUE(says(text, {"1 extra", kExpert + "16.up_proj.weight"}));
  EXPECT_EQ(text.find("missing"), std::string::npos);
}

TEST(Binder, takes_experts_stacked_or_one_by_one_but_not_both) {
  const std::string text = refusal_with("golden-layouts/qwen3_moe-packed", [](CheckpointCopy& copy) {
    copy.add(kExpert + "3.up_proj.weight", copy.zeros({32, 32}));
  });
  EXPECT_TRUE(says(text, {"1 extra", kExpert + "3.up_proj.weight"}));
  const std::string half =
      refusal_with("golden-layouts/qwen3_moe-packed", [](CheckpointCopy& copy) { copy.remove(kExpert + "down_proj"); });
  EXPECT_TRUE(says(half, {"1 missing:", kExpert + "down_proj"}));
}

TEST(Binder, checks_the_shape_of_stacked_experts) {
  const std::string text = refusal_with("golden-layouts/qwen3_moe-packed", [](CheckpointCopy& copy) {
    copy[kExpert + "gate_up_proj"] = copy.zeros({15, 64, 32});
    copy[kExpert + "down_proj"] = copy.zeros({16, 32});
  });
  EXPECT_TRUE(says(text, {"2 of another shape:", kExpert + "gate_up_proj: expected [16, 64, 32], got [15, 64, 32]",
                          kExpert + "down_proj: expected [16, 32, 32], got [16, 32]"}));
}

TEST(Binder, checks_blocks_and_scales_of_mxfp4) {
  const std::string blocks = kExpert + "gate_up_proj_blocks", scales = kExpert + "down_proj_scales";
  const auto mxfp4 = "golden-layouts/gpt_oss-mxfp4";
  EXPECT_TRUE(says(refusal_with(mxfp4, [&](CheckpointCopy& copy) { copy.remove(scales); }), {"1 missing:", scales}));
  EXPECT_TRUE(says(refusal_with(mxfp4,
                                [&](CheckpointCopy& copy) {
                                  copy[scales].shape = {8, 1, 32};
                                }),
                   {"1 of another shape:", scales, "[8, 1, 32]"}));
  EXPECT_TRUE(says(refusal_with(mxfp4, [&](CheckpointCopy& copy) { copy[blocks].format = FormatId::i8; }),
                   {"1 of another shape:", blocks, "expected u8 [8, 64, 1, 16]", "got i8 [8, 64, 1, 16]"}));
}

TEST(Binder, refuses_a_vocabulary_that_is_not_the_embeddings) {
  const std::string text =
      refusal_with(kQwen, [](CheckpointCopy& copy) { copy.configure("\"vocab_size\": 256", "\"vocab_size\": 257"); });
  EXPECT_TRUE(says(text, {"model.embed_tokens.weight: expected [257, 32], got [256, 32]"}));
}

TEST(Binder, refuses_a_config_with_more_layers_or_experts_than_there_are) {
  EXPECT_TRUE(says(
      refusal_with(
          kQwen, [](CheckpointCopy& copy) { copy.configure("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"); }),
      {"missing:", "model.layers.3.input_layernorm.weight"}));
  EXPECT_TRUE(says(
      refusal_with(kQwen, [](CheckpointCopy& copy) { copy.configure("\"num_experts\": 16", "\"num_experts\": 8"); }),
      {"3 of another shape:", "model.layers.0.mlp.gate.weight: expected [8, 32], got [16, 32]", "extra",
       "model.layers.0.mlp.experts.10.down_proj.weight", "... and "}));
}

TEST(Binder, a_tied_head_may_be_stored_twice_only_if_it_is_the_embedding) {
  const auto tied = "golden/granitemoe";
  const std::string embedding = "model.embed_tokens.weight", head = "lm_head.weight";
  EXPECT_EQ("accepted", refusal_with(tied, [&](CheckpointCopy& copy) { copy[head] = copy[embedding]; }));
  EXPECT_EQ("accepted", refusal_with(tied, [&](CheckpointCopy& copy) { copy.remove(head); }));
  EXPECT_TRUE(says(refusal_with(tied, [&](CheckpointCopy& copy) { copy.writable(head)[8191] += 1; }),
                   {"lm_head.weight", "tie_word_embeddings"}));
  EXPECT_TRUE(says(refusal_with(tied,
                                [&](CheckpointCopy& copy) {
                                  copy[head] = copy.zeros({255, 32});
                                }),
                   {"lm_head.weight: expected [256, 32], got [255, 32]"}));
}

TEST(Binder, a_head_of_its_own_must_be_there) {
  EXPECT_TRUE(says(refusal_with(kQwen, [](CheckpointCopy& copy) { copy.remove("lm_head.weight"); }),
                   {"1 missing:", "lm_head.weight"}));
}

TEST(Binder, refuses_quantization_it_cannot_compute_with_by_name) {
  const std::string text = refusal_with(kQwen, [](CheckpointCopy& copy) {
    copy.configure("\"vocab_size\"", "\"quantization_config\": {\"quant_method\": \"awq\"}, \"vocab_size\"");
  });
  EXPECT_TRUE(says(text, {"quant_method", "awq"}));
  const std::string tensor = refusal_with(kQwen, [](CheckpointCopy& copy) {
    View& view = copy[kExpert + "0.up_proj.weight"];  // a quarter of the bytes
    view.format = FormatId::f8_e5m2;
    view.row_bytes = 32;
  });
  EXPECT_TRUE(says(tensor, {"cannot be computed with", kExpert + "0.up_proj.weight is f8_e5m2"}));
}

TEST(Binder, ignores_old_rotary_buffers_and_layers_of_multi_token_prediction) {
  EXPECT_EQ("accepted", refusal_with("golden/deepseek_v3", [](CheckpointCopy& copy) {
              copy.add("model.layers.0.self_attn.rotary_emb.inv_freq", copy.zeros({8}));
              copy.add("model.layers.3.mlp.experts.0.up_proj.weight", copy.zeros({32, 32}));
              copy.configure("\"vocab_size\"", "\"num_nextn_predict_layers\": 1, \"vocab_size\"");
            }));
  EXPECT_TRUE(says(refusal_with("golden/deepseek_v3",
                                [](CheckpointCopy& copy) {
                                  copy.add("model.layers.4.mlp.experts.0.up_proj.weight", copy.zeros({32, 32}));
                                  copy.configure("\"vocab_size\"", "\"num_nextn_predict_layers\": 1, \"vocab_size\"");
                                }),
                   {"1 extra", "model.layers.4.mlp.experts.0.up_proj.weight"}));
}

// A checkpoint may mix formats as it likes: the step runs whatever the binder let in.
TEST(Binder, what_it_accepts_can_be_run) {
  CheckpointCopy copy(data_dir(kQwen));
  std::vector<uint16_t> half(32 * 32, 0x3c00);
  const View bf16 = dense_view(half.data(), FormatId::bf16, {32, 32}),
             f16 = dense_view(half.data(), FormatId::f16, {32, 32});
  for (int e = 0; e < 16; ++e) {
    copy[fmt::format("{}{}.up_proj.weight", kExpert, e)] = e % 2 == 0 ? bf16 : f16;
    if (e % 3 == 0) copy[fmt::format("{}{}.down_proj.weight", kExpert, e)] = bf16;
  }
  const Model model = Model::load(copy.write());
  Runner runner(model);
  const std::vector<int32_t> pages = runner.pages(1), tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const StepSequence sequence{tokens, 0, pages, 1};
  for (const float logit : runner.step({&sequence, 1}, {})) EXPECT_TRUE(std::isfinite(logit));
}

}  // namespace
}  // namespace moxie
