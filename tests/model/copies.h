// Copies of a checkpoint with some of its tensors changed: for tests of what the binder accepts and refuses.
#pragma once

#include <algorithm>
#include <deque>

#include "base/file.h"
#include "kernels/support.h"
#include "store/safetensors.h"
#include "store/store_test_util.h"

namespace moxie::test {

inline std::filesystem::path data_dir(const std::string& name) {
  return std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data" / name;
}

/// The tensors of a model directory; whatever is changed here, write() puts into a directory of its own.
class CheckpointCopy {
 public:
  explicit CheckpointCopy(const std::filesystem::path& from)
      : original_(Checkpoint::open(from)), config_(read_file(from / "config.json", 1 << 20)) {
    for (const TensorEntry& entry : original_.entries()) tensors_.push_back({entry.name, entry.tensor.view});
  }

  View& operator[](const std::string& name) { return find(name)->view; }
  void remove(const std::string& name) { tensors_.erase(find(name)); }
  void add(const std::string& name, const View& view) { tensors_.push_back({name, view}); }

  /// A new f32 tensor of zeros.
  View zeros(const Shape& shape) { return owned_.emplace_back(Tensor::zeros_f32(shape)).first.view; }

  /// A copy of the bytes of a tensor that the caller may write to.
  float* writable(const std::string& name) {
    View& view = (*this)[name];
    auto& [tensor, data] = owned_.emplace_back(Tensor::zeros_f32(view.shape));
    std::memcpy(data, view.f32(), static_cast<size_t>(view.num_bytes()));
    view = tensor.view;
    return data;
  }

  /// All tensors become f32.
  void widen() {
    for (NamedView& each : tensors_) {
      auto& [tensor, data] = owned_.emplace_back(Tensor::zeros_f32(each.view.shape));
      ref().decode_row(each.view.format, each.view.data, nullptr, each.view.shape.num_elems(), data);
      each.view = tensor.view;
    }
  }

  /// [E, A, B] f32 becomes [E, B, A].
  void swap_last_axes(const std::string& name) {
    View& view = (*this)[name];
    const int64_t e = view.shape[0], a = view.shape[1], b = view.shape[2];
    auto& [tensor, data] = owned_.emplace_back(Tensor::zeros_f32({e, b, a}));
    for (int64_t i = 0; i < e * a * b; ++i) {
      data[i / (a * b) * a * b + i % b * a + i / b % a] = view.f32()[i];
    }
    view = tensor.view;
  }

  /// Replaces a part of every name.
  void rename(const std::string& from, const std::string& to) {
    for (NamedView& tensor : tensors_) {
      const size_t at = tensor.name.find(from);
      if (at != std::string::npos) tensor.name.replace(at, from.size(), to);
    }
  }

  /// Replaces text of config.json that must be there.
  void configure(const std::string& from, const std::string& to) {
    const size_t at = config_.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    config_.replace(at, from.size(), to);
  }

  /// Writes config.json and model.safetensors; returns where.
  std::filesystem::path write() {
    write_safetensors(directory_ / "model.safetensors", tensors_);
    directory_.put("config.json", config_);
    return directory_.path();
  }

 private:
  std::vector<NamedView>::iterator find(const std::string& name) {
    const auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](auto& t) { return t.name == name; });
    MOXIE_CHECK(found != tensors_.end());
    return found;
  }

  Checkpoint original_;
  std::string config_;
  std::vector<NamedView> tensors_;
  std::deque<std::pair<Tensor, float*>> owned_;
  TemporaryDirectory directory_;
};

}  // namespace moxie::test
