#include "train/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "text/hash.h"
#include "train/run_tokenizer.h"
#include "train/sample_order.h"
#include "train/token_stream.h"

namespace moxie {
namespace {

constexpr uint64_t kOrderStream = 0x64617461;

struct Domain {
  std::string name;
  TokenStream text;
  TokenStream valid_text;   // empty: validation is the end of `text`
  int64_t train_size = 0;   // tokens [0, train_size) of `text` are trained on
  int64_t valid_begin = 0;  // in valid()
  int64_t valid_size = 0;
  int64_t valid_bytes = 0;
  int64_t num_windows = 0;  // of an epoch
  int64_t num_phases = 0;   // where its first window may begin

  const TokenStream& valid() const { return valid_text.size() > 0 ? valid_text : text; }
};

// One window less than would fit at phase 0, so that every phase has as many; of a short text the one that there is.
void set_windows(Domain& domain, int64_t seq_len) {
  const int64_t fit = (domain.train_size - 1) / seq_len;
  domain.num_windows = std::max<int64_t>(1, fit - 1);
  domain.num_phases = std::min(seq_len, domain.train_size - domain.num_windows * seq_len);
}

}  // namespace

struct TrainData::Impl {
  std::string tokenizer_name;
  std::optional<Tokenizer> tokenizer;
  std::vector<int32_t> bytes_of;  // by id; empty: every token is one byte
  int64_t seq_len;
  Rng order;
  std::vector<Domain> domains;
  std::optional<SampleMix> mix;

  Impl(const DataConfig& config, int64_t length, uint64_t seed) : seq_len(length), order(seed, kOrderStream) {
    tokenizer_name = config.tokenizer;
    if (is_byte_level(config.tokenizer)) return;
    tokenizer = open_tokenizer(config.tokenizer);
    for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      bytes_of.push_back(static_cast<int32_t>(tokenizer->token_bytes(id).size()));
    }
  }

  const Tokenizer* tokenizer_or_null() const { return tokenizer ? &*tokenizer : nullptr; }
  const Domain& at(int64_t domain) const {
    MOXIE_CHECK(domain >= 0 && domain < static_cast<int64_t>(domains.size()));
    return domains[static_cast<size_t>(domain)];
  }

  int64_t text_bytes(const int32_t* ids, int64_t count) const {
    if (bytes_of.empty()) return count;
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; ++i) {
      const auto id = static_cast<size_t>(ids[i]);
      if (id < bytes_of.size()) bytes += bytes_of[id];  // a model may have more rows than its tokenizer tokens
    }
    return bytes;
  }

  void open(const DataConfig& config, const DataDomain& source, int64_t vocab_size) {
    Domain domain;
    domain.name = source.name;
    domain.text = TokenStream(source, tokenizer_or_null(), vocab_size);
    domain.train_size = domain.text.size();
    if (config.valid.empty()) {
      domain.valid_size = static_cast<int64_t>(config.valid_fraction * static_cast<double>(domain.train_size));
      domain.train_size -= domain.valid_size;
      domain.valid_begin = domain.train_size;
    }
    for (const DataDomain& valid : config.valid) {
      if (valid.name != source.name) continue;
      domain.valid_text = TokenStream(valid, tokenizer_or_null(), vocab_size);
      domain.valid_size = domain.valid_text.size();
    }
    if (domain.train_size <= seq_len) {
      throw invalid({.where = fmt::format("domain {} ({})", printable(source.name), source.paths.front()),
                     .expected = fmt::format("at least {} tokens to train on: one window", seq_len + 1),
                     .got = fmt::format("{}, and {} for validation", domain.train_size, domain.valid_size),
                     .hint = "More text, or a smaller train.seq_len"});
    }
    set_windows(domain, seq_len);
    domain.valid_bytes = count_valid_bytes(domain);
    domains.push_back(std::move(domain));
  }

  int64_t count_valid_bytes(const Domain& domain) const {
    if (bytes_of.empty()) return domain.valid_size;
    std::vector<int32_t> ids(4096);
    int64_t bytes = 0;
    for (int64_t begin = 0; begin < domain.valid_size; begin += 4096) {
      const int64_t some = std::min<int64_t>(4096, domain.valid_size - begin);
      domain.valid().read(domain.valid_begin + begin, some, ids.data());
      bytes += text_bytes(ids.data(), some);
    }
    return bytes;
  }

  // Validation windows without overlap; the last may be short.
  int64_t all_valid_windows(const Domain& domain) const {
    return domain.valid_size < 2 ? 0 : (domain.valid_size - 2) / seq_len + 1;
  }
};

TrainData::TrainData(const DataConfig& config, int64_t seq_len, uint64_t seed, int64_t vocab_size) {
  MOXIE_CHECK(!config.domains.empty() && seq_len >= 1);
  impl_ = std::make_unique<Impl>(config, seq_len, seed);
  std::vector<double> weights;
  for (const DataDomain& source : config.domains) {
    impl_->open(config, source, vocab_size);
    const auto size = static_cast<double>(impl_->domains.back().train_size);
    weights.push_back(source.weight > 0 ? source.weight : std::pow(size, config.weight_power));
  }
  impl_->mix.emplace(weights);
}

TrainData::~TrainData() = default;

int64_t TrainData::num_domains() const {
  return static_cast<int64_t>(impl_->domains.size());
}

const std::string& TrainData::domain_name(int64_t domain) const {
  return impl_->at(domain).name;
}

double TrainData::domain_share(int64_t domain) const {
  return impl_->mix->share(domain);
}

int64_t TrainData::train_tokens(int64_t domain) const {
  return impl_->at(domain).train_size;
}

int64_t TrainData::valid_bytes(int64_t domain) const {
  return impl_->at(domain).valid_bytes;
}

int64_t TrainData::train_window(int64_t sample, int32_t* ids, int32_t* targets) const {
  MOXIE_CHECK(sample >= 0);
  const SampleMix::Place place = impl_->mix->place(sample);
  const Domain& domain = impl_->at(place.domain);
  const auto epoch = static_cast<uint64_t>(place.index / domain.num_windows);
  const Rng key = impl_->order.at(static_cast<uint64_t>(place.domain)).at(epoch);
  const auto phase = static_cast<int64_t>(key.below(0, static_cast<uint64_t>(domain.num_phases)));
  const int64_t window = permuted(key, place.index % domain.num_windows, domain.num_windows);
  const int64_t begin = phase + window * impl_->seq_len;
  MOXIE_CHECK(begin + impl_->seq_len < domain.train_size);
  domain.text.read(begin, impl_->seq_len, ids);
  domain.text.read(begin + 1, impl_->seq_len, targets);
  return place.domain;
}

int64_t TrainData::num_valid_windows(int64_t domain, int64_t limit) const {
  const int64_t all = impl_->all_valid_windows(impl_->at(domain));
  return limit > 0 ? std::min(limit, all) : all;
}

void TrainData::valid_window(int64_t domain_index, int64_t index, int64_t limit, int32_t* ids, int32_t* targets,
                             int64_t* bytes) const {
  const Domain& domain = impl_->at(domain_index);
  const int64_t count = num_valid_windows(domain_index, limit);
  MOXIE_CHECK(index >= 0 && index < count);
  const int64_t all = impl_->all_valid_windows(domain);
  const auto window = static_cast<int64_t>(static_cast<__int128>(index) * all / count);
  const int64_t begin = window * impl_->seq_len;
  const int64_t some = std::min(impl_->seq_len, domain.valid_size - 1 - begin);
  domain.valid().read(domain.valid_begin + begin, some, ids);
  domain.valid().read(domain.valid_begin + begin + 1, some, targets);
  std::fill(ids + some, ids + impl_->seq_len, 0);
  std::fill(targets + some, targets + impl_->seq_len, -1);
  *bytes = impl_->text_bytes(targets, some);
}

std::vector<std::string> TrainData::fingerprint() const {
  std::vector<std::string> lines;
  const auto add = [&](const MappedFile& file) {
    file.check_unchanged();
    lines.push_back(
        fmt::format("{} {} bytes {:016x}", file.path().string(), file.bytes().size(), text::hash_bytes(file.bytes())));
  };
  for (const Domain& domain : impl_->domains) {
    for (const auto& file : domain.text.files()) add(*file);
    for (const auto& file : domain.valid_text.files()) add(*file);
  }
  for (const std::string& path : tokenizer_paths(impl_->tokenizer_name)) add(*MappedFile::open(path));
  return lines;
}

std::vector<TrainData::ExportFile> TrainData::tokenizer_files(int64_t max_position) const {
  return export_tokenizer(impl_->tokenizer_name, max_position);
}

}  // namespace moxie
