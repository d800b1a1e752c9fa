// Speed of a tokenizer on one thread: bench_tokenizer TOKENIZER TEXT [RUNS]. TOKENIZER is a tokenizer.json, a
// tokenizer.model or a model directory. Prints the best of RUNS (5) passes over the whole text, in MB (10^6 bytes) a
// second of the thread's CPU time, so that other load on the machine counts little.
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace {

using moxie::Tokenizer;

constexpr size_t kMaxFileBytes = size_t{1} << 30;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds(const auto& work) {
  const double start = cpu_seconds();
  work();
  return cpu_seconds() - start;
}

Tokenizer open(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return Tokenizer::load(path);
  const std::string bytes = moxie::read_file(path, kMaxFileBytes);
  const bool is_json = path.extension() == ".json";
  return is_json ? Tokenizer::from_json(bytes, path.string()) : Tokenizer::from_sentencepiece(bytes, path.string());
}

void run(const char* tokenizer_path, const char* text_path, int runs) {
  std::optional<Tokenizer> tokenizer;
  const double load = seconds([&] { tokenizer = open(tokenizer_path); });
  const std::string text = moxie::read_file(text_path, kMaxFileBytes);
  std::vector<int32_t> ids;
  std::string back;
  double encode = 1e9, decode = 1e9, lines = 1e9;
  for (int i = 0; i < runs; ++i) {
    encode = std::min(encode, seconds([&] { ids = tokenizer->encode(text, {.add_special = false}); }));
    decode = std::min(decode, seconds([&] { back = tokenizer->decode(ids); }));
    lines = std::min(lines, seconds([&] {
                       for (size_t at = 0; at < text.size();) {
                         const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
                         tokenizer->encode(std::string_view(text).substr(at, end - at), {.add_special = false});
                         at = end;
                       }
                     }));
  }
  const double mb = static_cast<double>(text.size()) / 1e6;
  fmt::print(
      "load {:.0f} ms; {:.2f} MB -> {} ids; encode {:.1f} MB/s, line by line {:.1f} MB/s; decode {:.1f} MB/s{}\n",
      load * 1e3, mb, ids.size(), mb / encode, mb / lines, mb / decode, back == text ? "" : "; TEXT DIFFERS");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    fmt::print(stderr, "usage: bench_tokenizer TOKENIZER TEXT [RUNS]\n");
    return 2;
  }
  try {
    run(argv[1], argv[2], argc == 4 ? std::max(1, std::atoi(argv[3])) : 5);
  } catch (const moxie::Error& error) {
    fmt::print(stderr, "{}\n", error.text());
    return static_cast<int>(error.code());
  }
}
