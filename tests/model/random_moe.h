// A small MoE of random weights as a GGUF file, each matrix in the format that the test chooses. Its texts mean
// nothing.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "format/block.h"
#include "kernels/support.h"
#include "model/gguf_metadata.h"
#include "model/gguf_tensors.h"
#include "model/pack.h"
#include "spec/config.h"
#include "spec/gguf_export.h"
#include "store/gguf.h"

namespace moxie::test {

/// Every row of a matrix is one or two blocks of 256.
constexpr const char* kRandomMoe = R"({"model_type": "qwen2_moe", "vocab_size": 160, "hidden_size": 512,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 256,
  "moe_intermediate_size": 256, "shared_expert_intermediate_size": 256, "num_experts": 6, "num_experts_per_tok": 2,
  "norm_topk_prob": true, "max_position_embeddings": 128, "tie_word_embeddings": false})";

class RandomMoe {
 public:
  bool packs_rows = false;     // where they can be packed
  bool experts_apart = false;  // one tensor an expert, under the names of a Hugging Face directory
  /// Asked once a tensor; routers and vectors are f32.
  std::function<FormatId()> next_format;

  void write(const std::filesystem::path& path, uint64_t seed) {
    random_ = Random(seed);
    const ModelSpec spec = parse_config(kRandomMoe, "random");
    const GgufExport made = gguf_export(spec, "random");
    GgufMetadata metadata;
    put_architecture(made, metadata);
    std::vector<MadeTensor> tensors;
    for (const GgufRows& each : gguf_tensors(spec, made, nullptr)) {
      const bool matrix = each.shape.rank() > 1 && each.name.find("ffn_gate_inp") == std::string::npos;
      if (experts_apart && each.shape.rank() == 3) {
        for (int64_t e = 0; e < each.shape[0]; ++e) {
          tensors.push_back(tensor(expert_name(each.name, e), next_format(), {each.shape[1], each.shape[2]}));
        }
      } else {
        tensors.push_back(tensor(each.name, matrix ? next_format() : FormatId::f32, each.shape));
      }
    }
    ThreadPool pool(1);
    write_gguf(path, metadata, tensors, pool);
  }

 private:
  static constexpr int64_t kUnit = 256;  // whole blocks of every format
  static constexpr int64_t kUnits = 64;

  // "blk.1.ffn_up_exps.weight" -> "model.layers.1.mlp.experts.3.up_proj.weight"
  static std::string expert_name(const std::string& stack, int64_t e) {
    const size_t dot = stack.find('.', 4), which = dot + 5;  // behind "ffn_"
    return fmt::format("model.layers.{}.mlp.experts.{}.{}_proj.weight", stack.substr(4, dot - 4), e,
                       stack.substr(which, stack.find("_exps") - which));
  }

  MadeTensor tensor(const std::string& name, FormatId format, const Shape& shape) {
    MadeTensor out{.name = name, .format = format, .shape = shape};
    const int64_t columns = shape.back(), bytes = row_bytes(format, columns);
    auto rows = std::make_shared<std::string>();
    if (shape.rank() == 1) {
      const std::vector<float> values(static_cast<size_t>(columns), name.ends_with("norm.weight") ? 1.0f : 0.125f);
      rows->assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    }
    for (int64_t i = 0; shape.rank() > 1 && i < shape.num_elems() / kUnit; ++i) {
      *rows += units(format)[static_cast<size_t>(random_.below(kUnits))];
    }
    out.make_rows = [rows, bytes](int64_t begin, int64_t end, char* to) {
      std::memcpy(to, rows->data() + begin * bytes, static_cast<size_t>((end - begin) * bytes));
    };
    return packs_rows && can_be_packed(name, shape, format) ? packed(out) : out;
  }

  // Encoding every number would take minutes: rows are drawn from a few encoded pieces.
  const std::vector<std::string>& units(FormatId format) {
    std::vector<std::string>& made = units_[format];
    while (made.size() < kUnits) {
      std::vector<float> values(kUnit);
      for (float& value : values) value = random_.normal() / 16;
      std::string& bytes = made.emplace_back(static_cast<size_t>(row_bytes(format, kUnit)), '\0');
      if (is_block_format(format)) {
        encode_blocks(format, values.data(), kUnit, nullptr, bytes.data());
      } else {
        ref().encode_row(format, values.data(), kUnit, bytes.data());
      }
    }
    return made;
  }

  Random random_{0};
  std::map<FormatId, std::vector<std::string>> units_;
};

}  // namespace moxie::test
