#include "quantize/random_model.h"

#include <cmath>
#include <map>
#include <memory>
#include <tuple>

#include "base/fnv1a.h"
#include "base/machine.h"
#include "model/gguf_metadata.h"
#include "model/gguf_tensors.h"
#include "model/pack.h"
#include "quantize/block_pool.h"
#include "quantize/gguf_plan.h"
#include "quantize/routing_target.h"

namespace moxie {
namespace {

constexpr double kEmbeddingScale = 30;
constexpr float kCommon = 64;  // mean and deviation of the embedding where routing has a target

bool is_one(std::string_view name) {
  return name.ends_with("norm.weight");
}

bool is_zero(std::string_view name) {
  return name.ends_with(".bias") || name.ends_with("attn_sinks.weight");
}

int64_t layer_of(const std::string& name) {
  return std::stoll(name.substr(name.find('.') + 1));
}

/// A direction of length 1 across that of all ones, and `along` times the mean of what it is multiplied with.
void fill_router_row(const Rng& rng, double along, std::vector<float>& row) {
  const auto n = static_cast<double>(row.size());
  double sum = 0, squares = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = near_normal(rng, i);
    sum += row[i];
    squares += static_cast<double>(row[i]) * row[i];
  }
  const double mean = sum / n, length = std::sqrt(squares - sum * mean);
  for (float& value : row) value = static_cast<float>((value - mean) / length + along / n);
}

/// Makes the rows of each tensor; what they share lives as long as one of them.
class RowMaker {
 public:
  RowMaker(const ModelSpec& spec, const RandomModelOptions& options)
      : spec_(spec), seed_(options.seed), loads_(expert_loads(options.routing, spec, options.seed)) {
    for (const auto& loads : loads_) targeted_ = targeted_ || !loads.empty();
  }

  std::function<void(int64_t, int64_t, char*)> rows_of(const GgufRows& tensor, FormatId format) {
    if (!tensor.rows.empty()) {
      return [rows = tensor.rows, columns = tensor.shape.back()](int64_t begin, int64_t end, char* out) {
        std::vector<float> values(static_cast<size_t>((end - begin) * columns));
        rows.decode(begin, end, values.data());
        encode_rows(FormatId::f32, values.data(), end - begin, columns, out);
      };
    }
    if (is_one(tensor.name) || is_zero(tensor.name)) {
      return [value = is_one(tensor.name) ? 1.0f : 0.0f, columns = tensor.shape.back(), format](
                 int64_t begin, int64_t end, char* out) {
        const std::vector<float> values(static_cast<size_t>((end - begin) * columns), value);
        encode_rows(format, values.data(), end - begin, columns, out);
      };
    }
    if (targeted_ && tensor.name.ends_with("ffn_gate_inp.weight")) return router_rows(tensor);
    const bool embedding = tensor.name == "token_embd.weight";
    const double unit = 1 / std::sqrt(static_cast<double>(tensor.shape.back()));
    const auto sigma = static_cast<float>(unit * (embedding ? kEmbeddingScale : 1));
    const bool common = embedding && targeted_;
    return [pool = pool(format, common ? kCommon : 0, common ? kCommon : sigma), columns = tensor.shape.back(),
            row_bytes = row_bytes(format, tensor.shape.back()),
            rng = rng_of(tensor.name)](int64_t begin, int64_t end, char* out) {
      for (int64_t row = begin; row < end; ++row, out += row_bytes) {
        pool->fill_row(rng.at(static_cast<uint64_t>(row)), columns, out);
      }
    };
  }

 private:
  Rng rng_of(const std::string& name) const { return Rng(seed_, fnv1a(name)); }

  std::shared_ptr<const BlockPool> pool(FormatId format, float mean, float sigma) {
    std::shared_ptr<const BlockPool>& made = pools_[{format, mean, sigma}];
    if (made == nullptr) made = std::make_shared<const BlockPool>(format, mean, sigma, seed_);
    return made;
  }

  // After the norm a token's row has a mean of 1 / sqrt(2) and that deviation.
  std::function<void(int64_t, int64_t, char*)> router_rows(const GgufRows& tensor) {
    const auto layer = static_cast<size_t>(layer_of(tensor.name));
    const int64_t columns = tensor.shape.back();
    const double share = std::sqrt(0.5);
    std::vector<double> offsets(static_cast<size_t>(tensor.shape[0]), 0.0);
    if (!loads_[layer].empty()) {
      offsets = offsets_for(loads_[layer], spec_.layers[layer].ffn.top_k, share, seed_);
    }
    return [offsets = std::move(offsets), columns, share, rng = rng_of(tensor.name)](int64_t begin, int64_t end,
                                                                                     char* out) {
      std::vector<float> row(static_cast<size_t>(columns));
      for (int64_t e = begin; e < end; ++e, out += row_bytes(FormatId::f32, columns)) {
        fill_router_row(rng.at(static_cast<uint64_t>(e)), offsets[static_cast<size_t>(e)] / share, row);
        encode_rows(FormatId::f32, row.data(), 1, columns, out);
      }
    };
  }

  const ModelSpec& spec_;
  uint64_t seed_;
  ExpertLoads loads_;
  bool targeted_ = false;
  std::map<std::tuple<FormatId, float, float>, std::shared_ptr<const BlockPool>> pools_;
};

// A config may ask for anything: the number of elements is checked before it is computed.
void check_size(const GgufRows& tensor, const std::string& source) {
  constexpr double kMostElems = 0x1p38;
  double elems = 1;
  for (const int64_t dim : tensor.shape.dims()) elems *= static_cast<double>(dim);
  if (elems <= kMostElems) return;
  throw make_error(ErrorCode::does_not_fit, "{}: {} would have {:.3g} elements, {}", source, tensor.name, elems,
                   tensor.shape.str());
}

text::GgufVocabulary numbered_vocabulary(const ModelSpec& spec, const std::string& source) {
  constexpr int64_t kMostTokens = 1 << 20;
  if (spec.vocab_size > kMostTokens) {
    throw invalid({.where = source + ": vocab_size",
                   .expected = fmt::format("at most {}", kMostTokens),
                   .got = fmt::format("{}", spec.vocab_size)});
  }
  text::GgufVocabulary vocabulary{.model = "gpt2", .pre = "gpt-2"};
  for (int64_t id = 0; id < spec.vocab_size; ++id) vocabulary.tokens.push_back(fmt::format("<{}>", id));
  vocabulary.types.assign(vocabulary.tokens.size(), 1);  // normal
  vocabulary.ids = {{"bos_token_id", 0}, {"eos_token_id", 0}};
  return vocabulary;
}

}  // namespace

int64_t RandomModel::num_bytes() const {
  int64_t bytes = 0;
  for (const MadeTensor& tensor : tensors) bytes += tensor.num_bytes();
  return bytes;
}

RandomModel random_model(const ModelSpec& spec, const std::string& source, const RandomModelOptions& options) {
  const GgufExport made = gguf_export(spec, source);
  const MixFacts facts = mix_facts(spec, made.architecture);
  RandomModel model{.notes = made.notes};
  put_architecture(made, model.metadata);
  model.metadata.set_string("general.type", "model");
  model.metadata.set_string("general.name", fmt::format("random {}", printable(source)));
  model.metadata.set<uint32_t>("general.file_type", options.mix.file_type);
  model.metadata.set<uint32_t>("general.quantization_version", 2);
  put_vocabulary(numbered_vocabulary(spec, source), model.metadata);
  const std::vector<GgufRows> tensors = gguf_tensors(spec, made, nullptr);
  for (const GgufRows& tensor : tensors) check_size(tensor, source);
  RowMaker maker(spec, options);
  for (const GgufRows& tensor : tensors) {
    const bool quantized = may_be_quantized(tensor.name, tensor.shape);
    const FormatId wanted = quantized ? mix_format(options.mix, facts, tensor.name, tensor.shape) : FormatId::f32;
    const FormatId format = fitting_format(wanted, tensor.shape.back());
    const MadeTensor plain{tensor.name, format, tensor.shape, maker.rows_of(tensor, format)};
    const bool packs = options.pack && can_be_packed(tensor.name, tensor.shape, format);
    model.tensors.push_back(packs ? packed(plain) : plain);
  }
  return model;
}

void write_random_model(const RandomModel& model, const std::filesystem::path& path, int threads,
                        const WorkProgress& progress) {
  check_room(path, model.num_bytes());
  ThreadPool pool(threads > 0 ? threads : usable_threads());
  write_gguf(path, model.metadata, model.tensors, pool, [&](double share) {
    if (progress) progress("write", share);
  });
}

}  // namespace moxie
