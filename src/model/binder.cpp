#include "model/binder.h"

#include <cstdlib>
#include <cstring>

#include "format/block.h"
#include "ops/exec.h"

namespace moxie {
namespace {

constexpr size_t kMostListed = 12;  // names of each kind in a message

std::string listing(std::string_view what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  std::string text = fmt::format("\n  {} {}:", names.size(), what);
  for (size_t i = 0; i < names.size() && i < kMostListed; ++i) text += "\n    " + names[i];
  if (names.size() > kMostListed) text += fmt::format("\n    ... and {} more", names.size() - kMostListed);
  return text;
}

// Buffers that old checkpoints carry, and layers that are not part of the forward pass.
bool ignorable(const std::string& name, int64_t num_layers, int64_t num_mtp_layers) {
  if (name.ends_with("rotary_emb.inv_freq")) return true;
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return false;
  const int64_t layer = std::strtoll(name.c_str() + prefix.size(), nullptr, 10);
  return layer >= num_layers && layer < num_layers + num_mtp_layers;
}

}  // namespace

bool computable(FormatId format) {
  const bool plain = format == FormatId::f32 || format == FormatId::bf16 || format == FormatId::f16;
  return plain || is_block_format(format);
}

void Binder::misshaped(const std::string& name, const std::string& expected, const std::string& got) {
  misshaped_.push_back(fmt::format("{}: expected {}, got {}", name, expected, got));
}

bool Binder::check_format(const std::string& name, const View& view) {
  if (computable(view.format)) return true;
  uncomputable_.push_back(
      fmt::format("{} is {}: this build computes with f32, bf16, f16, the blocks of GGUF files, mxfp4 experts, and "
                  "f8_e4m3 matrices if the config says quant_method fp8",
                  name, format_name(view.format)));
  return false;
}

const View* Binder::raw(const std::string& name) {
  const Tensor* found = checkpoint_.find(name);
  used_.insert(name);
  if (found == nullptr) {
    missing_.push_back(name);
    return nullptr;
  }
  return &found->view;
}

View Binder::tensor(const std::string& name, const Shape& shape) {
  const View* found = raw(name);
  if (found == nullptr) return {};
  if (!(found->shape == shape)) {
    misshaped(name, shape.str(), found->shape.str());
    return {};
  }
  return check_format(name, *found) ? *found : View{};
}

View Binder::matrix(const std::string& name, int64_t rows, int64_t columns) {
  const Shape shape{rows, columns};
  const Tensor* found = checkpoint_.find(name);
  if (!fp8_ || found == nullptr || found->view.format != FormatId::f8_e4m3) return tensor(name, shape);
  used_.insert(name);
  const auto blocks = [](int64_t n) { return (n + kFp8Block - 1) / kFp8Block; };
  const View scales = tensor(name + "_scale_inv", {blocks(rows), blocks(columns)});
  if (!(found->view.shape == shape)) misshaped(name, shape.str(), found->view.shape.str());
  if (scales.empty() || !(found->view.shape == shape)) return {};
  View out = found->view;
  out.scales = f32_of(scales).data;  // some checkpoints have them in bf16
  out.scale_row_bytes = scales.shape[1] * static_cast<int64_t>(sizeof(float));
  return out;
}

View Binder::f32_of(const View& rows) {
  if (rows.format == FormatId::f32) return rows;
  auto [copy, out] = Tensor::zeros_f32(rows.shape);
  const KernelSet& kernels = choose_kernel_set();
  const int64_t columns = rows.shape.back();
  for (int64_t i = 0; i < rows.num_rows(); ++i, out += columns) decode_row(kernels, rows, i, out);
  weights_.copies.push_back(copy);
  return copy.view;
}

View Binder::plain_matrix(const std::string& name, int64_t rows, int64_t columns) {
  const View found = matrix(name, rows, columns);
  const bool plain = found.empty() || (computable(found.format) && !is_block_format(found.format));
  return plain ? found : f32_of(found);
}

const float* Binder::vector(const std::string& name, int64_t size) {
  const View* found = raw(name);
  if (found == nullptr) return nullptr;
  if (found->shape.num_elems() != size) {  // [E, n] biases are bound as one run of numbers
    misshaped(name, fmt::format("{} elements", size), found->shape.str());
    return nullptr;
  }
  if (!check_format(name, *found)) return nullptr;
  std::vector<float>& out = weights_.vectors.emplace_back(static_cast<size_t>(size));
  find_kernel_set("ref")->decode_row(found->format, found->data, nullptr, size, out.data());
  return out.data();
}

const float* Binder::strided(const float* vector, int64_t begin, int64_t step, int64_t count) {
  if (vector == nullptr || step == 1) return vector == nullptr ? nullptr : vector + begin;
  std::vector<float>& out = weights_.vectors.emplace_back();
  for (int64_t i = 0; i < count; ++i) out.push_back(vector[begin + i * step]);
  return out.data();
}

View Binder::transposed(const View& in_major, int64_t begin, int64_t step, int64_t count) {
  if (in_major.empty()) return {};
  const int64_t k = in_major.shape[0];
  const auto size = static_cast<size_t>(format_info(in_major.format).block_bytes);
  auto bytes = std::make_shared<std::vector<char>>(static_cast<size_t>(count * k) * size);
  for (int64_t row = 0; row < k; ++row) {
    const char* from = static_cast<const char*>(in_major.data) + row * in_major.row_bytes;
    for (int64_t column = 0; column < count; ++column) {
      std::memcpy(bytes->data() + static_cast<size_t>(column * k + row) * size,
                  from + static_cast<size_t>(begin + column * step) * size, size);
    }
  }
  const View view = dense_view(bytes->data(), in_major.format, {count, k});
  weights_.copies.push_back({view, bytes});
  return view;
}

void Binder::finish(const std::string& source, int64_t num_layers, int64_t num_mtp_layers) {
  std::vector<std::string> extra;
  for (const TensorEntry& entry : checkpoint_.entries()) {
    if (!used_.contains(entry.name) && !ignorable(entry.name, num_layers, num_mtp_layers)) extra.push_back(entry.name);
  }
  const std::string problems = listing("missing", missing_) + listing("of another shape", misshaped_) +
                               listing("in a format that cannot be computed with", uncomputable_) +
                               listing("extra (the config has no place for them)", extra);
  if (!problems.empty()) {
    throw Error(ErrorCode::invalid, source + ": the tensors do not fit the config:" + problems);
  }
}

}  // namespace moxie
