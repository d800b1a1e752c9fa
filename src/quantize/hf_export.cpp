#include "quantize/hf_export.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/crc32c.h"
#include "base/new_directory.h"
#include "format/codec.h"
#include "model/row_source.h"
#include "quantize/gguf_plan.h"
#include "quantize/hf_tensors.h"
#include "spec/config.h"
#include "spec/hf_config.h"
#include "store/checkpoint_write.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

// As transformers calls it; empty for a format it does not load so.
std::string_view dtype_of(FormatId format) {
  if (format == FormatId::bf16) return "bfloat16";
  if (format == FormatId::f16) return "float16";
  return format == FormatId::f32 ? "float32" : "";
}

FormatId format_of(const HfTensor& tensor, FormatId format) {
  return tensor.stays_f32 ? FormatId::f32 : format;
}

// Values as encode_rows has them; throws for those that f16 does not hold.
void encode(FormatId format, const std::vector<float>& values, const HfTensor& tensor, char* out) {
  encode_rows(format, values.data(), 1, static_cast<int64_t>(values.size()), out);
  if (format != FormatId::f16) return;
  for (const float value : values) {
    if (std::isfinite(value) && std::isinf(f16_to_f32(f32_to_f16(value)))) {
      throw invalid({.where = tensor.name,
                     .expected = "values within the range of f16, 65504",
                     .got = fmt::format("{}", value),
                     .hint = "Store the weights as bf16."});
    }
  }
}

MadeTensor made(const HfTensor& tensor, FormatId format) {
  const auto make_rows = [&tensor, format](int64_t begin, int64_t end, char* out) {
    std::vector<float> rows(static_cast<size_t>((end - begin) * tensor.shape.back()));
    tensor.read_rows(begin, end, rows.data());
    encode(format, rows, tensor, out);
  };
  return {tensor.name, format, tensor.shape, make_rows};
}

void write_text(const fs::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

/// Compares what lies in the directory with the source, and sums up both by expert.
class Verifier {
 public:
  Verifier(const fs::path& directory, FormatId format) : checkpoint_(Checkpoint::open(directory)), format_(format) {}

  void check(const HfTensor& tensor) {
    const Tensor* found = checkpoint_.find(tensor.name);
    const FormatId format = format_of(tensor, format_);
    MOXIE_CHECK(found != nullptr && found->view.format == format && found->view.shape == tensor.shape);
    const int64_t num_rows = tensor.num_rows();
    const int64_t rows_each = tensor.num_experts == 0 ? num_rows : num_rows / tensor.num_experts;
    ExpertCheck of_none;
    for (int64_t begin = 0; begin < num_rows; begin += rows_each) {
      const int64_t expert = tensor.expert + begin / rows_each;
      ExpertCheck& sums = tensor.expert < 0 ? of_none : experts_[{tensor.layer, expert}];
      add(tensor, found->view, begin, begin + rows_each, sums);
      if (sums.source == sums.written) continue;
      throw make_error(ErrorCode::runtime, "{}: the disk does not give back what was written", tensor.name);
    }
  }

  std::vector<ExpertCheck> experts() const {
    std::vector<ExpertCheck> out;
    for (const auto& [place, sums] : experts_) out.push_back({place.first, place.second, sums.source, sums.written});
    return out;
  }

 private:
  void add(const HfTensor& tensor, const View& view, int64_t begin, int64_t end, ExpertCheck& sums) {
    constexpr int64_t kElemsAtOnce = 1 << 18;
    const int64_t columns = tensor.shape.back(), step = std::max<int64_t>(kElemsAtOnce / columns, 1);
    const RowSource written(view);
    std::vector<float> rows;
    std::vector<char> rounded;
    for (int64_t i = begin; i < end; i += step) {
      const int64_t last = std::min(i + step, end);
      rows.resize(static_cast<size_t>((last - i) * columns));
      rounded.resize(static_cast<size_t>((last - i) * view.row_bytes));
      tensor.read_rows(i, last, rows.data());
      encode(view.format, rows, tensor, rounded.data());
      RowSource(dense_view(rounded.data(), view.format, {last - i, columns})).decode(0, last - i, rows.data());
      sums.source = crc32c(rows.data(), rows.size() * sizeof(float), sums.source);
      written.decode(i, last, rows.data());
      sums.written = crc32c(rows.data(), rows.size() * sizeof(float), sums.written);
    }
  }

  Checkpoint checkpoint_;
  FormatId format_;
  std::map<std::pair<int64_t, int64_t>, ExpertCheck> experts_;  // by layer and expert
};

}  // namespace

HfExportResult export_hf(const ModelSource& source, const fs::path& out, const HfExportOptions& options,
                         const WorkProgress& progress) {
  MOXIE_CHECK(options.shard_bytes > 0);
  if (dtype_of(options.format).empty()) {
    throw make_error(ErrorCode::usage, "weights of a Hugging Face directory: expected bf16, f16 or f32, got {}",
                     format_name(options.format));
  }
  const auto tell = [&](std::string_view doing, double share) {
    if (progress) progress(doing, share);
  };
  NewDirectory directory(out);
  const std::string name = source.path().string();
  const ModelSpec bound = source.spec();
  const Checkpoint checkpoint = source.checkpoint(bound);
  ModelWeights weights = bind_weights(bound, checkpoint);
  const json::Value config = hf_config(source.config(), bound, dtype_of(options.format), name);
  const ModelSpec family = read_config(config, name);
  const std::vector<HfTensor> tensors = hf_tensors(family, bound, weights);

  HfExportResult result{.family = family.family, .num_tensors = static_cast<int64_t>(tensors.size())};
  std::vector<MadeTensor> files;
  for (const HfTensor& tensor : tensors) {
    files.push_back(made(tensor, format_of(tensor, options.format)));
    result.num_parameters += tensor.shape.num_elems();
    result.bytes += files.back().num_bytes();
  }
  if (bound.num_mtp_layers > 0) {
    result.notices.emplace_back("the layers of multi-token prediction are left out: they are not run");
  }
  check_room(out, result.bytes);
  result.files =
      write_checkpoint(directory.path(), files, options.shard_bytes, [&](double share) { tell("write", share); });
  source.write_text_files(directory.path());
  write_text(directory.path() / "config.json", config.dump(2) + "\n");

  Verifier verifier(directory.path(), options.format);
  int64_t done = 0;
  for (const HfTensor& tensor : tensors) {
    verifier.check(tensor);
    done += tensor.shape.num_elems();
    tell("check", static_cast<double>(done) / static_cast<double>(result.num_parameters));
  }
  result.experts = verifier.experts();
  directory.commit();
  return result;
}

}  // namespace moxie
