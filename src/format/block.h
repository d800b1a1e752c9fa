// Block formats as GGUF files have them: layout, decoding, encoding, and their integers; no product with them.
#pragma once

#include <cstdint>

#include "format/format.h"

namespace moxie {

// Layout of one block. Numbers are little-endian, bytes stand in the order written, `name[n]` is n bytes. d, m and dmin
// are f16; i is the element, b a byte of its array; bit and nibble 0 are the low ones. Sources: ggml's ggml-common.h
// and ggml-quants.c (MIT), the OCP MX specification (fp4, e8m0).
//
// 32 elements; nibbles: i < 16 is the low nibble of qs[i], i >= 16 the high nibble of qs[i - 16]; high bit i of q5 is
// bit i of the u32 qh.
//   q4_0     d, qs[16]                      x = d (q - 8)
//   q4_1     d, m, qs[16]                   x = d q + m
//   q5_0     d, qh[4], qs[16]               x = d (q - 16)
//   q5_1     d, m, qh[4], qs[16]            x = d q + m
//   q8_0     d, q[32] as int8               x = d q
//   iq4_nl   d, qs[16]                      x = d kIq4Values[q]
//   mxfp4    e, qs[16]                      x = 2^(e - 128) kE2m1Doubled[q]; e = 255 is a number like others, as in
//   ggml
//
// 64 elements in 4 sub-blocks of 16; element l of sub-block s: l < 8 is the low nibble of qs[8 s + l], else the high
// nibble of qs[8 s + l - 8].
//   nvfp4    e[4], qs[32]                   x = ue4m3(e[s]) / 2 * kE2m1Doubled[q]; ue4m3: bit 7 is ignored, 0x7f is 0
//
// 256 elements ("super-block"). For the k formats i = 128 h + 32 j + l; s is the sub-block, sc and mn its integers.
//   q2_k     sc_mn[16], qs[64], d, dmin     s = i / 16: sc low nibble, mn high nibble; q = qs[32 h + l] >> 2 j & 3
//                                           x = d sc q - dmin mn
//   q3_k     hm[32], qs[64], sc[12], d      s = i / 16: sc = 6 bits - 32; low 4 bits: nibble s / 8 of sc[s % 8], high 2
//                                           bits: sc[8 + s % 4] >> 2 (s / 4) & 3;
//                                           q = (qs[32 h + l] >> 2 j & 3) - (bit 4 h + j of hm[l] ? 0 : 4);  x = d sc q
//   q4_k     d, dmin, sc_mn[12], qs[128]    s = i / 32: s < 4: sc = sc_mn[s] & 63, mn = sc_mn[s + 4] & 63; else low 4
//                                           bits in sc_mn[s + 4] (sc low nibble, mn high nibble), high 2 bits in bits
//                                           6..7 of sc_mn[s - 4] (sc) and of sc_mn[s] (mn); q = nibble s % 2 of
//                                           qs[32 (s / 2) + l];  x = d sc q - dmin mn
//   q5_k     d, dmin, sc_mn[12], qh[32], qs[128]      q4_k, and bit s of qh[l] is bit 4 of q
//   q6_k     ql[128], qh[64], sc[16] as int8, d       s = i / 16; q = (nibble j / 2 of ql[64 h + 32 (j % 2) + l]
//                                           | (qh[32 h + l] >> 2 j & 3) << 4) - 32;  x = d sc q
//   iq4_xs   d, sh (u16), sl[4], qs[128]    s = i / 32: sc = (nibble s % 2 of sl[s / 2] | (sh >> 2 s & 3) << 4) - 32;
//                                           nibbles of qs[16 s ..] as in iq4_nl;  x = d sc kIq4Values[q]
//
// 256 elements as codebook entries (format/codebooks.h) of magnitudes with signs; g = i / 8 the group of eight, s the
// sub-block of 32 or 16 with the 4-bit scale sc. "7 signs": bits 0..6 are the signs of elements 0..6, the eighth makes
// the number of minus signs even.
//   iq2_xxs  d, then for each s = i / 32: entry[4], u32     sc = u32 >> 28, 7 signs of the k-th entry = u32 >> 7 k &
//   127
//                                           x = d (sc + 0.5) / 4 * +-grid
//   iq2_xs   d, qs[64] as u16[32], sc[8]    entry of g = qs[g] & 511, 7 signs = qs[g] >> 9; s = i / 16, nibble s % 2 of
//                                           sc[s / 2];  x as iq2_xxs
//   iq2_s    d, qs[32], sign[32], qh[8], sc[8]        entry of g = qs[g] | (qh[g / 4] >> 2 (g % 4) & 3) << 8, 8 signs
//                                           sign[g]; s as iq2_xs;  x as iq2_xxs
//   iq3_xxs  d, qs[64], u32[8]              entry of elements 4 k .. is qs[k]; u32 of s = i / 32 as in iq2_xxs
//                                           x = d (sc + 0.5) / 2 * +-grid
//   iq3_s    d, qs[64], qh[8], sign[32], sc[4]        entry k = qs[k] | (bit k % 8 of qh[k / 8]) << 8, 8 signs sign[g];
//                                           s = i / 32, nibble s % 2 of sc[s / 2];  x = d (2 sc + 1) * +-grid

/// Whether the functions below know the format: from q4_0 to nvfp4.
bool is_block_format(FormatId format);

/// Floats of a row of whole blocks (`num_elems` of format_info(format).block_elems), bit for bit as ggml's to_float.
/// `row` need not be aligned. Any bytes may come: scales that are NaN or infinite give NaN or infinities, no more.
void decode_blocks(FormatId format, const void* row, int64_t num_elems, float* out) noexcept;

/// Whether encode_blocks can write the format.
bool can_encode(FormatId format);

/// Blocks of a row of whole blocks, with a small squared error: each scale is searched for, not taken from the largest
/// element (but for q8_0). `importance` weighs the squared error of each element (all equal if null; negative and NaN
/// count as 0; only ratios within a block matter). No block depends on another, so rows may be cut anywhere between.
/// Whatever x holds, every element decodes to a finite number: NaN is taken as 0, and what lies beyond the range that
/// the format surely holds (infinities too) as the end of that range.
/// Cost: a core takes some 100 MB/s of x for most formats, 20 for iq2 and iq3, 2000 for q8_0. The first call for an iq2
/// or iq3 format prepares its codebook in some 50 ms. May be called from threads.
void encode_blocks(FormatId format, const float* x, int64_t num_elems, const float* importance, void* out);

/// A block as integers: x[i] = d * scale[i / sub_elems] * value[i] - dmin * min[i / sub_elems]. Computed in f32 from
/// left to right this is decode_blocks. Values fit int8. Only format_info(format).block_elems elements are meant.
struct IntBlock {
  int8_t value[256];
  int16_t scale[16];
  int16_t min[16];
  float d, dmin;
  int sub_elems;
};

/// The integers of one block of any block format; false for other formats. q4_1 and q5_1 have min 1 and dmin = -m,
/// nvfp4 has up to three bits of its scale in the values.
bool int_block(FormatId format, const void* block, IntBlock* out) noexcept;

/// What int_block calls, for block after block: sets the same members for each block of a format, so the IntBlock is to
/// be cleared before the first. Null for other formats.
using UnpackInts = void (*)(const uint8_t* block, IntBlock* out) noexcept;
UnpackInts find_unpacker(FormatId format) noexcept;

}  // namespace moxie
