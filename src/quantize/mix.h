// Mixes: which number format each tensor of a GGUF file gets, by its name, shape and place in the model. Decides only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/format.h"
#include "tensor/tensor.h"

namespace moxie {

/// What a mix knows of the model.
struct MixFacts {
  std::string architecture;  // of GGUF
  int64_t num_layers = 0;
  int64_t num_experts = 0;  // 0: dense
  int64_t heads_per_kv = 1;
  bool tied = false;  // the embedding is the head
};

/// A mix of llama-quantize, under its name in lower case.
struct Mix {
  std::string_view name;
  FormatId base;       // of most tensors
  uint32_t file_type;  // general.file_type
};

/// By name ("q4_k_m"; "q4_k" is "q4_k_m", likewise q3_k and q5_k, "mxfp4" is "mxfp4_moe"), in any case.
std::optional<Mix> find_mix(std::string_view name);

/// The names, for messages and help.
std::vector<std::string> mix_names();

/// Whether a tensor may have another format than f32: a matrix that is no norm, no router and no bias.
bool may_be_quantized(std::string_view name, const Shape& shape);

/// The format of a tensor that may be quantized, as llama-quantize chooses it without an importance matrix, but for
/// this: layers are counted by their number in the name, also where it counts tensors; with mxfp4_moe the two halves of
/// a latent's kv_b are no experts. Rows may not be whole blocks of it: fitting_format.
FormatId mix_format(const Mix& mix, const MixFacts& facts, std::string_view name, const Shape& shape);

/// `format`, or where rows are not whole blocks of it the format that stands in for it; f16 if none does.
FormatId fitting_format(FormatId format, int64_t columns);

/// A format by its name in overrides: that of a block format, f32, f16, bf16; "mxfp4" is mxfp4_block. Only formats
/// that GGUF holds and this build can write.
std::optional<FormatId> find_writable_format(std::string_view name);
std::vector<std::string> writable_format_names();

/// Whether `text` fits a pattern in which * stands for any letters and ? for one. Cost: at most the product of lengths.
bool fits_glob(std::string_view pattern, std::string_view text);

}  // namespace moxie
