// moxie tokenize: learns a byte-level BPE tokenizer from text, and turns text into token files and back.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "model/model_source.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

namespace moxie::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kWriteBytes = size_t{1} << 20;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct TrainFlags {
  std::vector<std::string> texts, specials;
  std::string out;
  text::BpeTraining training;
  bool as_json = false;
};

struct TrainSummary {
  uint64_t bytes = 0, words = 0, distinct_words = 0, tokens = 0;
  int32_t vocab_size = 0;
  size_t merges = 0;
  double count_seconds = 0, merge_seconds = 0;

  double bytes_per_token() const { return static_cast<double>(bytes) / static_cast<double>(tokens); }
};

void print_summary(const TrainSummary& summary, const std::string& out) {
  fmt::print("text        {} bytes, {} words, {} of them distinct\n", summary.bytes, summary.words,
             summary.distinct_words);
  fmt::print("vocabulary  {} tokens, {} merges\n", summary.vocab_size, summary.merges);
  fmt::print("this text   {} tokens, {:.3f} bytes a token\n", summary.tokens, summary.bytes_per_token());
  fmt::print("time        {:.2f} s: counting {:.2f} s ({:.1f} MB/s), merging {:.2f} s\n",
             summary.count_seconds + summary.merge_seconds, summary.count_seconds,
             static_cast<double>(summary.bytes) * 1e-6 / summary.count_seconds, summary.merge_seconds);
  fmt::print("written     {}\n", (fs::path(out) / "tokenizer.json").string());
}

json::Value to_json(const TrainSummary& summary, const std::string& out) {
  json::Value report;
  report.set("schema_version", 1).set("bytes", summary.bytes).set("words", summary.words);
  report.set("distinct_words", summary.distinct_words).set("vocab_size", int64_t{summary.vocab_size});
  report.set("merges", uint64_t{summary.merges}).set("tokens", summary.tokens);
  report.set("bytes_per_token", summary.bytes_per_token());
  report.set("count_seconds", summary.count_seconds).set("merge_seconds", summary.merge_seconds).set("out", out);
  return report;
}

// Before the work, so that it is not lost for want of a place.
void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error || !fs::is_directory(directory, error)) {
    throw make_error(ErrorCode::runtime, "{}: cannot be made a directory: {}", directory.string(),
                     error ? error.message() : "it is something else");
  }
}

void write_tokenizer(const text::TrainedBpe& trained, const fs::path& directory) {
  AtomicFile tokenizer(directory / "tokenizer.json"), config(directory / "tokenizer_config.json");
  tokenizer.write(text::tokenizer_json(trained));
  config.write(text::tokenizer_config_json(trained));
  config.commit();
  tokenizer.commit();
}

void train(const TrainFlags& flags) {
  std::vector<std::shared_ptr<const MappedFile>> texts;
  TrainSummary summary;
  for (const std::string& path : flags.texts) {
    texts.push_back(MappedFile::open(path));
    summary.bytes += texts.back()->bytes().size();
  }
  if (summary.bytes == 0) {
    throw invalid({.where = flags.texts.front(), .expected = "text to learn from", .got = "no bytes"});
  }
  text::WordCounts words(flags.specials);
  text::check_vocab_size(flags.training.vocab_size, flags.specials.size());
  make_directory(flags.out);

  Clock::time_point begin = Clock::now();
  {
    Progress progress;
    uint64_t done = 0;
    for (const auto& text : texts) {
      words.add(text->bytes(), [&](uint64_t bytes) {
        progress.show("count", static_cast<double>(done + bytes) / static_cast<double>(summary.bytes));
      });
      done += text->bytes().size();
    }
  }
  summary.count_seconds = seconds_since(begin);
  begin = Clock::now();
  const text::TrainedBpe trained = [&] {
    Progress progress;
    return text::train_bpe(words, flags.training, [&](double share) { progress.show("merge", share); });
  }();
  summary.merge_seconds = seconds_since(begin);
  write_tokenizer(trained, flags.out);

  summary.words = words.num_words();
  summary.distinct_words = static_cast<uint64_t>(words.words().size());
  summary.vocab_size = trained.vocab_size();
  summary.merges = trained.merges.size();
  summary.tokens = trained.text_tokens;
  if (trained.vocab_size() < flags.training.vocab_size) {
    say(fmt::format("note: the vocabulary has {} tokens, not {}: no other pair comes {} times in the text",
                    trained.vocab_size(), flags.training.vocab_size, flags.training.min_frequency));
  }
  if (flags.as_json) {
    print_json(to_json(summary, flags.out));
  } else {
    print_summary(summary, flags.out);
  }
}

struct FileFlags {
  std::string tokenizer, file, out;
  bool as_json = false;
};

// Token files have no header: the name says how wide an id is.
size_t id_bytes(const std::string& path) {
  const std::string extension = fs::path(path).extension().string();
  if (extension == ".bin") return 2;
  if (extension == ".u32") return 4;
  throw make_error(ErrorCode::usage, "{}: expected a name that ends in .bin (ids of 16 bits) or .u32 (32 bits)", path);
}

void encode(const FileFlags& flags) {
  const size_t width = id_bytes(flags.out);
  const Tokenizer tokenizer = ModelSource::open(flags.tokenizer).tokenizer();
  if (width == 2 && tokenizer.vocab_size() > 65536) {
    throw make_error(ErrorCode::usage, "{}: ids of 16 bits do not hold a vocabulary of {}: name the file .u32",
                     flags.out, tokenizer.vocab_size());
  }
  const auto text = MappedFile::open(flags.file);
  const std::vector<int32_t> ids = tokenizer.encode(text->bytes(), {.add_special = false});
  if (ids.empty()) throw invalid({.where = flags.file, .expected = "text", .got = "none that has tokens"});
  AtomicFile file(flags.out);
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t byte = 0; byte < width; ++byte) bytes += static_cast<char>(ids[i] >> (8 * byte));  // little-endian
    if (bytes.size() < kWriteBytes && i + 1 < ids.size()) continue;
    file.write(bytes);
    bytes.clear();
  }
  file.commit();
  const double bytes_per_token = static_cast<double>(text->bytes().size()) / static_cast<double>(ids.size());
  if (flags.as_json) {
    json::Value report;
    report.set("schema_version", 1).set("bytes", uint64_t{text->bytes().size()}).set("tokens", uint64_t{ids.size()});
    report.set("bytes_per_token", bytes_per_token).set("bits_per_id", uint64_t{8 * width}).set("out", flags.out);
    print_json(report);
  } else {
    fmt::print("{}: {} tokens of {} bits from {} bytes, {:.3f} bytes a token\n", flags.out, ids.size(), 8 * width,
               text->bytes().size(), bytes_per_token);
  }
}

void decode(const FileFlags& flags) {
  const size_t width = id_bytes(flags.file);
  const Tokenizer tokenizer = ModelSource::open(flags.tokenizer).tokenizer();
  const auto file = MappedFile::open(flags.file);
  const std::string_view bytes = file->bytes();
  if (bytes.size() % width != 0) {
    throw invalid({.where = flags.file,
                   .expected = fmt::format("ids of {} bytes", width),
                   .got = fmt::format("{} bytes, the last id cut short", bytes.size())});
  }
  StreamDecoder decoder(tokenizer, false);
  for (size_t at = 0; at < bytes.size(); at += width) {
    uint32_t id = 0;
    for (size_t byte = 0; byte < width; ++byte) {
      id |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + byte])) << (8 * byte);
    }
    if (id >= static_cast<uint32_t>(tokenizer.vocab_size())) {
      throw invalid({.where = fmt::format("{}: byte {}", flags.file, at),
                     .expected = fmt::format("an id below {}", tokenizer.vocab_size()),
                     .got = fmt::format("{}", id)});
    }
    fmt::print("{}", decoder.push(static_cast<int32_t>(id)));
  }
  fmt::print("{}", decoder.finish());
}

void add_tokenize_train(CLI::App& verb) {
  CLI::App* train_verb = verb.add_subcommand("train", "Learn a byte-level BPE tokenizer; writes tokenizer.json");
  auto flags = std::make_shared<TrainFlags>();
  train_verb->add_option("TEXT", flags->texts, "Text files; bytes that are not UTF-8 are taken as they are")
      ->required();
  train_verb->add_option("--vocab", flags->training.vocab_size, "Tokens: 256 bytes, special tokens, and merges")
      ->required();
  train_verb->add_option("--out", flags->out, "Directory for tokenizer.json and tokenizer_config.json")->required();
  train_verb
      ->add_option("--special", flags->specials,
                   "A special token, such as \"<|endoftext|>\": it cuts the text and never merges; may be given "
                   "again; the first one ends a text")
      ->allow_extra_args(false);
  train_verb->add_option("--min-frequency", flags->training.min_frequency, "How often a pair must come to be merged")
      ->capture_default_str();
  train_verb->add_flag("--json", flags->as_json, "Print one JSON object");
  train_verb->callback([flags] { train(*flags); });
}

}  // namespace

void add_tokenize(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("tokenize", "Learn a tokenizer from text; turn text into token files and back");
  verb->require_subcommand(1);
  add_tokenize_train(*verb);
  auto flags = std::make_shared<FileFlags>();
  CLI::App* encode_verb = verb->add_subcommand("encode", "Text into a token file for training");
  encode_verb->add_option("TEXT", flags->file, "Text file; special tokens in it count as such")->required();
  encode_verb->add_option("--out", flags->out, "FILE.bin (ids of 16 bits) or FILE.u32 (32 bits), little-endian")
      ->required();
  encode_verb->add_flag("--json", flags->as_json, "Print one JSON object");
  encode_verb->callback([flags] { encode(*flags); });
  CLI::App* decode_verb = verb->add_subcommand("decode", "A token file into text on stdout, as valid UTF-8");
  decode_verb->add_option("FILE", flags->file, "FILE.bin or FILE.u32")->required();
  decode_verb->callback([flags] { decode(*flags); });
  for (CLI::App* each : {encode_verb, decode_verb}) {
    each->add_option("--tokenizer", flags->tokenizer, "Directory with tokenizer.json or tokenizer.model")->required();
  }
}

}  // namespace moxie::cli
