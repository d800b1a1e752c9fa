// Numbers of the GGUF format that its reader and its writer share: types of metadata values, limits of names.
#pragma once

#include <cstdint>
#include <string_view>

namespace moxie {

constexpr uint32_t kNumGgufTypes = 13;
constexpr uint32_t kGgufString = 8;
constexpr uint32_t kGgufArray = 9;

/// The type of a metadata value by the C++ type that holds it.
template <typename T>
constexpr uint32_t kGgufType = kNumGgufTypes;
template <>
inline constexpr uint32_t kGgufType<uint8_t> = 0;
template <>
inline constexpr uint32_t kGgufType<int8_t> = 1;
template <>
inline constexpr uint32_t kGgufType<uint16_t> = 2;
template <>
inline constexpr uint32_t kGgufType<int16_t> = 3;
template <>
inline constexpr uint32_t kGgufType<uint32_t> = 4;
template <>
inline constexpr uint32_t kGgufType<int32_t> = 5;
template <>
inline constexpr uint32_t kGgufType<float> = 6;
template <>
inline constexpr uint32_t kGgufType<bool> = 7;
template <>
inline constexpr uint32_t kGgufType<uint64_t> = 10;
template <>
inline constexpr uint32_t kGgufType<int64_t> = 11;
template <>
inline constexpr uint32_t kGgufType<double> = 12;

constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr uint32_t kGgufAlignment = 32;    // where that key is absent, and of what we write but for
constexpr uint32_t kPackedAlignment = 64;  // files with packed tensors: a vector load crosses no cache line
constexpr uint32_t kPackedType = 1 << 16;  // more than the type of the same blocks: rows are packed (format/packed.h)
constexpr uint64_t kMaxGgufKeyBytes = 65535;
constexpr uint64_t kMaxGgufNameBytes = 63;  // the specification says 64, its reference reader takes fewer
constexpr uint32_t kMaxGgufRank = 4;

}  // namespace moxie
