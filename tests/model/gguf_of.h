// Writes a Hugging Face model directory with f32 weights as a GGUF file, as llama.cpp's converters do: what they
// rename, stack, split, permute and transpose. Knows nothing of the code that reads it.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "format/block.h"
#include "model/gguf_keys_of.h"

namespace moxie {

class GgufOf : public GgufKeysOf {
 public:
  bool fused_gate_up = false;         // --fuse-gate-up-exps
  bool fused_qkv = false;             // --fuse-qkv
  FormatId matrices = FormatId::f32;  // of all but routers, where rows are whole blocks
  bool decoded = false;               // what `matrices` made of them, as f32
  std::vector<NamedView> further;     // tensors

  explicit GgufOf(const std::filesystem::path& directory)
      : GgufKeysOf(directory), checkpoint_(Checkpoint::open(directory)) {}

  void write(const std::filesystem::path& path) {
    write_keys();
    for (const auto& [name, values] : factors_) add_made(name, values, {static_cast<int64_t>(values.size())});
    for (const TensorEntry& entry : checkpoint_.entries()) add(entry.name, entry.tensor.view);
    join_stacks();
    tensors_.insert(tensors_.end(), further.begin(), further.end());
    if (matrices != FormatId::f32) quantize();
    write_gguf(path, metadata_, tensors_);
  }

 private:
  bool permuted() const { return is("llama") || is("mistral") || is("mixtral") || is("granitemoe"); }

  void add_made(std::string name, std::vector<float> values, Shape shape) {
    const std::vector<float>& kept = made_.emplace_back(std::move(values));
    tensors_.push_back({std::move(name), dense_view(kept.data(), FormatId::f32, shape)});
  }

  // Half-split rows [2, dim / 2] of each head become interleaved ones [dim / 2, 2].
  View permute(const View& view, int64_t heads) {
    const int64_t rows = view.shape[0], width = view.shape.num_elems() / rows, half = rows / heads / 2;
    std::vector<float> out(static_cast<size_t>(rows * width));
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < 2 * half; ++i) {
        const int64_t from = h * 2 * half + i % 2 * half + i / 2;
        std::memcpy(&out[static_cast<size_t>((h * 2 * half + i) * width)], view.f32() + from * width,
                    static_cast<size_t>(width) * sizeof(float));
      }
    }
    return dense_view(made_.emplace_back(std::move(out)).data(), FormatId::f32, view.shape);
  }

  // Elements of [E, A, B] by a function of (e, a, b), as a new tensor of that shape.
  template <typename At>
  void add_by(std::string name, Shape shape, At at) {
    std::vector<float> out;
    const int64_t c_count = shape.rank() > 2 ? shape[2] : 1;
    for (int64_t a = 0; a < shape[0]; ++a) {
      for (int64_t b = 0; b < shape[1]; ++b) {
        for (int64_t c = 0; c < c_count; ++c) out.push_back(at(a, b, c));
      }
    }
    add_made(std::move(name), std::move(out), shape);
  }

  void add(const std::string& name, const View& view) {
    constexpr std::string_view prefix = "model.layers.";
    const size_t last = name.rfind('.');
    const std::string ending = name.substr(last);
    if (name == "lm_head.weight" && find("tie_word_embeddings") != nullptr && find("tie_word_embeddings")->as_bool()) {
      return;
    }
    if (!name.starts_with(prefix)) {
      const std::map<std::string, std::string> top = {
          {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
      tensors_.push_back({top.at(name.substr(0, last)) + ending, view});
      return;
    }
    const size_t dot = name.find('.', prefix.size());
    const std::string at = "blk." + name.substr(prefix.size(), dot - prefix.size()) + ".";
    const std::string rest = name.substr(dot + 1);
    if (rest.starts_with("self_attn.") || rest.find("layernorm") != std::string::npos) {
      add_attention(at, rest, ending, view);
    } else {
      add_ffn(at, rest.substr(rest.find('.') + 1), ending, view);
    }
  }

  void add_attention(const std::string& at, const std::string& rest, const std::string& ending, const View& view) {
    const bool post = is("glm4_moe") || is("gpt_oss");
    const std::map<std::string, std::string> names = {
        {"input_layernorm", "attn_norm"},
        {"post_attention_layernorm", post ? "post_attention_norm" : "ffn_norm"},
        {"self_attn.q_proj", "attn_q"},
        {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},
        {"self_attn.o_proj", "attn_output"},
        {"self_attn.q_norm", "attn_q_norm"},
        {"self_attn.k_norm", "attn_k_norm"},
        {"self_attn.q_a_proj", "attn_q_a"},
        {"self_attn.q_a_layernorm", "attn_q_a_norm"},
        {"self_attn.q_b_proj", "attn_q_b"},
        {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
        {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
        {"self_attn.kv_b_proj", "attn_kv_b"}};
    if (rest == "self_attn.sinks") {
      tensors_.push_back({at + "attn_sinks.weight", view});
      return;
    }
    const std::string stem = names.at(rest.substr(0, rest.size() - ending.size()));
    View stored = view;
    if (permuted() && stem == "attn_q") stored = permute(view, integer("num_attention_heads"));
    if (permuted() && stem == "attn_k") stored = permute(view, integer("num_key_value_heads"));
    if (stem == "attn_kv_b" && !latent_in_one) return split_latent(at, view);
    const bool qkv = stem == "attn_q" || stem == "attn_k" || stem == "attn_v";
    if (qkv && fused_qkv) {
      stacks_[at + "attn_qkv" + ending][stem == "attn_q" ? 0 : stem == "attn_k" ? 1 : 2] = stored;
    } else {
      tensors_.push_back({at + stem + ending, stored});
    }
  }

  void split_latent(const std::string& at, const View& view) {
    const int64_t heads = integer("num_attention_heads"), nope = integer("qk_nope_head_dim");
    const int64_t v_dim = integer("v_head_dim"), latent = view.shape[1];
    const float* data = view.f32();
    add_by(at + "attn_k_b.weight", {heads, latent, nope},
           [&](int64_t h, int64_t j, int64_t i) { return data[(h * (nope + v_dim) + i) * latent + j]; });
    add_by(at + "attn_v_b.weight", {heads, v_dim, latent},
           [&](int64_t h, int64_t i, int64_t j) { return data[(h * (nope + v_dim) + nope + i) * latent + j]; });
  }

  // `rest` is what follows "mlp." or "block_sparse_moe.".
  void add_ffn(const std::string& at, const std::string& rest, const std::string& ending, const View& view) {
    const std::map<std::string, std::string> names = {{"gate_proj", "ffn_gate"},
                                                      {"up_proj", "ffn_up"},
                                                      {"down_proj", "ffn_down"},
                                                      {"gate", "ffn_gate_inp"},
                                                      {"router", "ffn_gate_inp"},
                                                      {"router.layer", "ffn_gate_inp"},
                                                      {"shared_expert.gate_proj", "ffn_gate_shexp"},
                                                      {"shared_expert.up_proj", "ffn_up_shexp"},
                                                      {"shared_expert.down_proj", "ffn_down_shexp"},
                                                      {"shared_experts.gate_proj", "ffn_gate_shexp"},
                                                      {"shared_experts.up_proj", "ffn_up_shexp"},
                                                      {"shared_experts.down_proj", "ffn_down_shexp"}};
    if (rest == "gate.e_score_correction_bias") {
      tensors_.push_back({at + "exp_probs_b.bias", view});
    } else if (rest == "shared_expert_gate.weight") {
      tensors_.push_back({at + "ffn_gate_inp_shexp.weight", dense_view(view.data, view.format, {view.shape[1]})});
    } else if (rest == "input_linear.weight") {
      add_granite(at, view);
    } else if (rest == "output_linear.weight") {
      tensors_.push_back({at + "ffn_down_exps.weight", view});
    } else if (rest.starts_with("experts.") && is("gpt_oss")) {
      add_gpt_oss(at, rest, view);
    } else if (rest.starts_with("experts.")) {
      const size_t dot = rest.find('.', 8);
      const std::string which = rest.substr(dot + 1, rest.size() - dot - 1 - ending.size());
      const char* stem = which == "gate_proj" || which == "w1" ? "gate"
                         : which == "up_proj" || which == "w3" ? "up"
                                                               : "down";
      stacks_[fmt::format("{}ffn_{}_exps{}", at, stem, ending)][std::stoi(rest.substr(8))] = view;
    } else {
      tensors_.push_back({at + names.at(rest.substr(0, rest.size() - ending.size())) + ending, view});
    }
  }

  void add_granite(const std::string& at, const View& view) {
    const int64_t f = view.shape[1] / 2, h = view.shape[2];
    const float* data = view.f32();
    for (const int64_t half : {0, 1}) {
      add_by(at + (half == 0 ? "ffn_gate_exps.weight" : "ffn_up_exps.weight"), {view.shape[0], f, h},
             [&](int64_t e, int64_t i, int64_t j) { return data[(e * 2 * f + half * f + i) * h + j]; });
    }
  }

  // Rows first, first + step, ... of MXFP4 as GGUF has it: scale, then 16 bytes of elements j (low) and j + 16 (high).
  void add_mxfp4(std::string name, const View& blocks, const View& scales, int64_t first, int64_t step) {
    const int64_t experts = blocks.shape[0], rows = blocks.shape[1], width = blocks.shape[2];
    const auto* codes = static_cast<const uint8_t*>(blocks.data);
    const auto* exponents = static_cast<const uint8_t*>(scales.data);
    std::vector<uint8_t>& out = blocks_.emplace_back();
    for (int64_t row = 0; row < experts * rows; ++row) {
      if (row % rows % step != first) continue;
      for (int64_t b = row * width; b < (row + 1) * width; ++b) {
        out.push_back(exponents[b]);
        const auto code = [&](int j) { return codes[b * 16 + j / 2] >> (j % 2 * 4) & 15; };
        for (int j = 0; j < 16; ++j) out.push_back(static_cast<uint8_t>(code(j) | code(j + 16) << 4));
      }
    }
    tensors_.push_back(
        {std::move(name), dense_view(out.data(), FormatId::mxfp4_block, {experts, rows / step, width * 32})});
  }

  void add_gpt_oss(const std::string& at, const std::string& rest, const View& view) {
    if (rest.ends_with("_scales")) return;  // goes with its blocks
    if (rest.ends_with("_blocks")) {
      const std::string layer = at.substr(4, at.size() - 5);
      const View& scales =
          checkpoint_.find("model.layers." + layer + ".mlp." + rest.substr(0, rest.size() - 6) + "scales")->view;
      if (rest.starts_with("experts.down_proj")) return add_mxfp4(at + "ffn_down_exps.weight", view, scales, 0, 1);
      add_mxfp4(at + "ffn_gate_exps.weight", view, scales, 0, 2);
      return add_mxfp4(at + "ffn_up_exps.weight", view, scales, 1, 2);
    }
    const float* data = view.f32();
    const int64_t experts = view.shape[0], columns = view.shape.back();
    const int64_t rows = view.shape.rank() == 3 ? view.shape[1] : 1;
    if (rest == "experts.down_proj_bias") return tensors_.push_back({at + "ffn_down_exps.bias", view});
    if (rest == "experts.down_proj") {
      return add_by(at + "ffn_down_exps.weight", {experts, columns, rows},
                    [&](int64_t e, int64_t i, int64_t j) { return data[(e * rows + j) * columns + i]; });
    }
    const bool bias = rest.ends_with("_bias");
    for (const int64_t half : {0, 1}) {  // gate in even columns, up in odd ones
      const std::string name = at + (half == 0 ? "ffn_gate_exps" : "ffn_up_exps");
      if (bias) {
        add_by(name + ".bias", {experts, columns / 2},
               [&](int64_t e, int64_t i, int64_t) { return data[e * columns + 2 * i + half]; });
      } else {
        add_by(name + ".weight", {experts, columns / 2, rows},
               [&](int64_t e, int64_t i, int64_t j) { return data[(e * rows + j) * columns + 2 * i + half]; });
      }
    }
  }

  // Stacks of experts, in order; q, k and v above one another.
  void join_stacks() {
    if (fused_gate_up) fuse_gate_up();
    for (const auto& [name, parts] : stacks_) {
      std::vector<float> out;
      for (const auto& [index, view] : parts) out.insert(out.end(), view.f32(), view.f32() + view.shape.num_elems());
      const View& one = parts.begin()->second;
      const bool qkv = name.find("attn_qkv") != std::string::npos;
      const int64_t width = one.shape.rank() == 2 ? one.shape[1] : 1, total = static_cast<int64_t>(out.size());
      const Shape joined = one.shape.rank() == 2 ? Shape{total / width, width} : Shape{total};
      const Shape stacked{static_cast<int64_t>(parts.size()), one.shape[0], width};
      add_made(name, std::move(out), qkv ? joined : stacked);
    }
  }

  void fuse_gate_up() {
    std::map<std::string, std::map<int, View>> fused;
    for (auto& [name, parts] : stacks_) {
      const size_t at = name.find("ffn_gate_exps");
      if (at == std::string::npos) continue;
      const auto& ups = stacks_.at(std::string(name).replace(at, 8, "ffn_up"));
      for (const auto& [e, gate] : parts) {
        std::vector<float> both(gate.f32(), gate.f32() + gate.shape.num_elems());
        both.insert(both.end(), ups.at(e).f32(), ups.at(e).f32() + gate.shape.num_elems());
        const float* data = made_.emplace_back(std::move(both)).data();
        fused[std::string(name).replace(at, 8, "ffn_gate_up")][e] =
            dense_view(data, FormatId::f32, {2 * gate.shape[0], gate.shape[1]});
      }
    }
    std::erase_if(stacks_, [](const auto& stack) {
      return stack.first.find("_gate_exps") != std::string::npos || stack.first.find("_up_exps") != std::string::npos;
    });
    stacks_.merge(fused);
  }

  void quantize() {
    const FormatInfo& info = format_info(matrices);
    for (NamedView& tensor : tensors_) {
      const View& view = tensor.view;
      const bool router = tensor.name.find("ffn_gate_inp") != std::string::npos;
      if (view.format != FormatId::f32 || view.shape.rank() < 2 || view.shape.back() % info.block_elems || router) {
        continue;
      }
      const int64_t elems = view.shape.num_elems();
      std::vector<uint8_t>& blocks = blocks_.emplace_back(static_cast<size_t>(row_bytes(matrices, elems)));
      encode_blocks(matrices, view.f32(), elems, nullptr, blocks.data());
      std::vector<float>& values = made_.emplace_back(static_cast<size_t>(elems));
      decode_blocks(matrices, blocks.data(), elems, values.data());
      tensor.view = decoded ? dense_view(values.data(), FormatId::f32, view.shape)
                            : dense_view(blocks.data(), matrices, view.shape);
    }
  }

  Checkpoint checkpoint_;
  std::vector<NamedView> tensors_;
  std::deque<std::vector<float>> made_;
  std::deque<std::vector<uint8_t>> blocks_;
  std::map<std::string, std::map<int, View>> stacks_;  // name -> part by number
};

}  // namespace moxie
