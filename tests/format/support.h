// What the tests of the block formats share: the list of formats, goldens, random numbers.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "format/block.h"

namespace moxie {

inline std::vector<FormatId> block_formats() {
  std::vector<FormatId> formats;
  for (int id = static_cast<int>(FormatId::q4_0); id <= static_cast<int>(FormatId::nvfp4); ++id) {
    formats.push_back(static_cast<FormatId>(id));
  }
  return formats;
}

inline std::vector<FormatId> encodable_formats() {
  std::vector<FormatId> formats;
  for (const FormatId format : block_formats()) {
    if (can_encode(format)) formats.push_back(format);
  }
  return formats;
}

/// The file names are ggml's names of the types.
inline std::string golden_name(FormatId format) {
  std::string name(format_name(format));
  if (name == "mxfp4_block") return "mxfp4";
  if (name.ends_with("_k")) name.back() = 'K';
  return name;
}

template <typename T>
std::vector<T> read_golden(const std::string& file) {
  const std::string path = MOXIE_SOURCE_DIR "/tests/data/ggml-quants/" + file;
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_FALSE(bytes.empty()) << path;
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

inline std::vector<uint8_t> random_bytes(int64_t num, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<uint8_t> bytes(static_cast<size_t>(num));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(generator() >> 24);
  return bytes;
}

inline std::vector<float> normal_row(int64_t num, float scale, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> row(static_cast<size_t>(num));
  for (float& value : row) value = normal(generator);
  return row;
}

inline std::vector<uint8_t> encoded(FormatId format, const std::vector<float>& x, const float* importance = nullptr) {
  std::vector<uint8_t> bytes(static_cast<size_t>(row_bytes(format, static_cast<int64_t>(x.size()))));
  encode_blocks(format, x.data(), static_cast<int64_t>(x.size()), importance, bytes.data());
  return bytes;
}

inline std::vector<float> decoded(FormatId format, const std::vector<uint8_t>& bytes) {
  const FormatInfo& info = format_info(format);
  std::vector<float> row(bytes.size() / static_cast<size_t>(info.block_bytes) * static_cast<size_t>(info.block_elems));
  decode_blocks(format, bytes.data(), static_cast<int64_t>(row.size()), row.data());
  return row;
}

/// Equal bits, or both NaN: which of its bits a NaN keeps is the processor's affair.
inline bool same_number(float a, float b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
}

/// Root of the (weighted) squared error over that of x.
inline double relative_error(const std::vector<float>& x, const std::vector<float>& y, const float* weight = nullptr) {
  double error = 0, energy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double w = weight != nullptr ? weight[i] : 1.0;
    error += w * (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
    energy += w * static_cast<double>(x[i]) * x[i];
  }
  return energy > 0 ? std::sqrt(error / energy) : std::sqrt(error);
}

inline std::string format_test_name(const testing::TestParamInfo<FormatId>& info) {
  return std::string(format_name(info.param));
}

}  // namespace moxie
