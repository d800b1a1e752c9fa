// A model's projections as FP8 with scales, as DeepSeek-V3 ships them, and the same numbers as f32.
#pragma once

#include <cmath>
#include <deque>
#include <fstream>
#include <map>

#include "format/codec.h"
#include "format/fp8.h"
#include "model/parameters.h"
#include "spec/config.h"
#include "store/safetensors.h"

namespace moxie::test {

/// The nearest e4m3 byte; of two equally near the even one.
inline uint8_t to_e4m3(float value) {
  uint8_t best = 0;
  for (uint8_t bits = 1; bits < 0x7f; ++bits) {
    const float now = std::abs(f8_e4m3_to_f32(bits) - std::abs(value));
    const float before = std::abs(f8_e4m3_to_f32(best) - std::abs(value));
    if (now < before || (now == before && bits % 2 == 0)) best = bits;
  }
  return static_cast<uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

struct Fp8Matrix {
  std::vector<uint8_t> bytes;
  std::vector<float> scales, decoded;  // [ceil(N / 128), ceil(K / 128)], [N, K]
  Shape scale_shape;
};

inline Fp8Matrix fp8_of(const View& matrix) {
  const int64_t n = matrix.shape[0], k = matrix.shape[1], across = (k + kFp8Block - 1) / kFp8Block;
  Fp8Matrix out{.scale_shape = {(n + kFp8Block - 1) / kFp8Block, across}};
  out.scales.resize(static_cast<size_t>(out.scale_shape.num_elems()));
  const float* from = matrix.f32();
  const auto scale = [&](int64_t i) -> float& {
    return out.scales[static_cast<size_t>(i / k / kFp8Block * across + i % k / kFp8Block)];
  };
  for (int64_t i = 0; i < n * k; ++i) scale(i) = std::max(scale(i), std::abs(from[i]) / 448);
  for (int64_t i = 0; i < n * k; ++i) {
    out.bytes.push_back(to_e4m3(from[i] / scale(i)));
    out.decoded.push_back(f8_e4m3_to_f32(out.bytes.back()) * scale(i));
  }
  return out;
}

/// Writes the f32 model of `from` with its projections as FP8 into `fp8`, and with what those stand for into `decoded`:
/// new directories.
inline void write_fp8(const std::filesystem::path& from, const std::filesystem::path& fp8,
                      const std::filesystem::path& decoded) {
  const Checkpoint checkpoint = Checkpoint::open(from);
  std::vector<NamedView> as_fp8, as_f32;
  std::deque<Fp8Matrix> made;
  for (const TensorEntry& entry : checkpoint.entries()) {
    const View& view = entry.tensor.view;
    if (view.shape.rank() != 2 || entry.name.find("_proj") == std::string::npos) {
      as_fp8.push_back({entry.name, view});
      as_f32.push_back({entry.name, view});
      continue;
    }
    const Fp8Matrix& matrix = made.emplace_back(fp8_of(view));
    as_fp8.push_back({entry.name, dense_view(matrix.bytes.data(), FormatId::f8_e4m3, view.shape)});
    as_fp8.push_back({entry.name + "_scale_inv", dense_view(matrix.scales.data(), FormatId::f32, matrix.scale_shape)});
    as_f32.push_back({entry.name, dense_view(matrix.decoded.data(), FormatId::f32, view.shape)});
  }
  json::Value config = config_tree(from), quantization, block{json::Array{}};
  std::filesystem::create_directories(fp8);
  std::filesystem::create_directories(decoded);
  std::ofstream(decoded / "config.json") << config.dump();
  quantization.set("quant_method", "fp8").set("fmt", "e4m3").set("activation_scheme", "dynamic");
  quantization.set("weight_block_size", block.push(128).push(128));
  std::ofstream(fp8 / "config.json") << config.set("quantization_config", quantization).dump();
  write_safetensors(fp8 / "model.safetensors", as_fp8);
  write_safetensors(decoded / "model.safetensors", as_f32);
}

/// Writes a DeepSeek-V3 of random weights into `directory`, new: its matrices reach into second blocks either way.
inline void write_wide_deepseek(const std::filesystem::path& golden, const std::filesystem::path& directory) {
  const std::map<std::string, int> wide = {{"hidden_size", 160},           {"intermediate_size", 288},
                                           {"moe_intermediate_size", 136}, {"kv_lora_rank", 144},
                                           {"q_lora_rank", 200},           {"n_routed_experts", 8}};
  const json::Value narrow = config_tree(golden);
  json::Value config;
  for (const json::Member& member : narrow.members()) {
    const auto found = wide.find(member.key);
    config.set(member.key, found == wide.end() ? member.value : json::Value(found->second));
  }
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "config.json") << config.dump();
  Parameters parameters(load_config(directory));
  initialise(parameters, 3, 0.1f, 0.1f);
  std::vector<Tensor> owners;
  write_safetensors(directory / "model.safetensors", parameters.export_tensors(parameters.values(), owners));
}

}  // namespace moxie::test
