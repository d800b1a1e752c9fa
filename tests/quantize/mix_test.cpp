// Mixes against what llama-quantize is known to choose.
#include "quantize/mix.h"

#include <gtest/gtest.h>

#include <set>

namespace moxie {
namespace {

using F = FormatId;

const MixFacts kLlama8b = {.architecture = "llama", .num_layers = 32, .heads_per_kv = 4};
const MixFacts kMixtral = {.architecture = "llama", .num_layers = 32, .num_experts = 8, .heads_per_kv = 4};
const MixFacts kQwen3Moe = {.architecture = "qwen3moe", .num_layers = 48, .num_experts = 128, .heads_per_kv = 8};

F chosen(const std::string& mix, const MixFacts& facts, const std::string& name, const Shape& shape = {4096, 4096}) {
  return fitting_format(mix_format(find_mix(mix).value(), facts, name, shape), shape.back());
}

std::set<int> layers_with(F format, const std::string& mix, const MixFacts& facts, const std::string& stem) {
  std::set<int> layers;
  for (int i = 0; i < facts.num_layers; ++i) {
    if (chosen(mix, facts, fmt::format("blk.{}.{}.weight", i, stem)) == format) layers.insert(i);
  }
  return layers;
}

// The layers of a published Llama-3-8B in Q4_K_M.
TEST(Mix, q4_k_m_gives_half_of_the_layers_six_bits) {
  const std::set<int> more = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};
  EXPECT_EQ(layers_with(F::q6_k, "Q4_K_M", kLlama8b, "ffn_down"), more);
  EXPECT_EQ(layers_with(F::q6_k, "q4_k_m", kLlama8b, "attn_v"), more);
  EXPECT_EQ(layers_with(F::q6_k, "q5_k_m", kQwen3Moe, "ffn_down_exps").size(), 24u);
  for (const char* stem : {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"}) {
    EXPECT_EQ(layers_with(F::q4_k, "q4_k", kLlama8b, stem).size(), 32u) << stem;
  }
  EXPECT_EQ(chosen("q4_k_m", kLlama8b, "output.weight"), F::q6_k);
  EXPECT_EQ(chosen("q4_k_m", kLlama8b, "token_embd.weight"), F::q4_k);
}

TEST(Mix, eight_experts_leave_room_for_a_better_attention) {
  EXPECT_EQ(layers_with(F::q8_0, "q4_k_m", kMixtral, "attn_v").size(), 32u);
  EXPECT_EQ(layers_with(F::q8_0, "q3_k_s", kMixtral, "attn_k").size(), 32u);
  EXPECT_EQ(layers_with(F::q5_k, "q4_k_m", kMixtral, "attn_output").size(), 32u);
  EXPECT_EQ(layers_with(F::q4_k, "q4_k_m", kQwen3Moe, "attn_output").size(), 48u);
  EXPECT_EQ(layers_with(F::q4_k, "iq2_xs", kQwen3Moe, "attn_v").size(), 48u);
}

TEST(Mix, a_tied_embedding_is_the_head) {
  MixFacts tied = kLlama8b;
  tied.tied = true;
  EXPECT_EQ(chosen("q4_k_m", tied, "token_embd.weight"), F::q6_k);
  EXPECT_EQ(chosen("q8_0", tied, "token_embd.weight"), F::q8_0);
  EXPECT_EQ(chosen("iq2_xxs", tied, "token_embd.weight"), F::q5_k);
  EXPECT_EQ(chosen("iq2_xxs", kLlama8b, "token_embd.weight"), F::q2_k);
}

TEST(Mix, the_small_mixes_spend_on_the_first_layers) {
  EXPECT_EQ(layers_with(F::q5_k, "q3_k_m", kLlama8b, "ffn_down"), (std::set<int>{0, 1}));
  EXPECT_EQ(layers_with(F::q5_k, "q3_k_m", kLlama8b, "attn_v"), (std::set<int>{0, 1}));
  EXPECT_EQ(layers_with(F::q5_k, "q4_k_s", kLlama8b, "ffn_down"), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(layers_with(F::q5_k, "iq4_xs", kLlama8b, "ffn_down"), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(layers_with(F::q2_k, "iq2_xxs", kLlama8b, "ffn_down"), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(layers_with(F::q3_k, "q2_k", kLlama8b, "ffn_down").size(), 32u);
  EXPECT_EQ(layers_with(F::q4_k, "q2_k", kLlama8b, "attn_v").size(), 32u);  // four heads share a value head
  EXPECT_EQ(layers_with(F::iq2_s, "iq3_xxs", kLlama8b, "attn_q").size(), 32u);
}

TEST(Mix, mxfp4_is_for_experts) {
  EXPECT_EQ(chosen("mxfp4", kQwen3Moe, "blk.0.ffn_up_exps.weight", {128, 768, 2048}), F::mxfp4_block);
  EXPECT_EQ(chosen("mxfp4", kQwen3Moe, "blk.0.attn_q.weight"), F::q8_0);
  EXPECT_EQ(chosen("mxfp4", kQwen3Moe, "blk.0.attn_k_b.weight", {128, 512, 128}), F::q8_0);
}

TEST(Mix, rows_that_are_no_whole_blocks_get_the_format_that_fits) {
  EXPECT_EQ(fitting_format(F::q4_k, 256), F::q4_k);
  EXPECT_EQ(fitting_format(F::q4_k, 288), F::q5_0);
  EXPECT_EQ(fitting_format(F::q6_k, 288), F::q8_0);
  EXPECT_EQ(fitting_format(F::iq2_xxs, 32), F::iq4_nl);
  EXPECT_EQ(fitting_format(F::q2_k, 32), F::q4_0);
  EXPECT_EQ(fitting_format(F::q4_k, 20), F::f16);
  EXPECT_EQ(fitting_format(F::q8_0, 20), F::f16);
  EXPECT_EQ(chosen("q4_k_m", kLlama8b, "output.weight", {100, 288}), F::q8_0);
}

TEST(Mix, norms_routers_biases_and_vectors_stay) {
  EXPECT_TRUE(may_be_quantized("blk.0.ffn_down_exps.weight", {8, 64, 32}));
  EXPECT_FALSE(may_be_quantized("blk.0.ffn_down_exps.bias", {8, 64}));
  EXPECT_FALSE(may_be_quantized("blk.0.ffn_gate_inp.weight", {8, 64}));
  EXPECT_FALSE(may_be_quantized("blk.0.attn_norm.weight", {64}));
  EXPECT_FALSE(may_be_quantized("blk.0.ffn_gate_inp_shexp.weight", {1, 64}));
}

TEST(Mix, names_are_found_in_any_case_and_unknown_ones_are_not) {
  EXPECT_EQ(find_mix("Q3_K")->name, "q3_k_m");
  EXPECT_EQ(find_mix("MXFP4")->file_type, 38u);
  EXPECT_FALSE(find_mix("q4_k_xl"));
  EXPECT_EQ(find_writable_format("MXFP4"), F::mxfp4_block);
  EXPECT_FALSE(find_writable_format("f64"));
}

TEST(Mix, patterns_are_globs) {
  EXPECT_TRUE(fits_glob("blk.*.ffn_down_exps.weight", "blk.12.ffn_down_exps.weight"));
  EXPECT_TRUE(fits_glob("*", ""));
  EXPECT_TRUE(fits_glob("a*b*c", "a-b-b-c"));
  EXPECT_TRUE(fits_glob("blk.?.x", "blk.7.x"));
  EXPECT_FALSE(fits_glob("blk.?.x", "blk.17.x"));
  EXPECT_FALSE(fits_glob("attn_q", "blk.0.attn_q"));
  EXPECT_FALSE(fits_glob("a*b", "a*c"));
}

}  // namespace
}  // namespace moxie
