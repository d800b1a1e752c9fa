// The flags of a model that is made up: a shape, formats, how routing spreads, a seed. And the file they lead to.
#pragma once

#include <filesystem>
#include <string>

#include "cli/cli.h"
#include "quantize/random_model.h"

namespace moxie::cli {

struct ShapeFlags {
  std::string shape, format = "q4_k_m", to, routing;
  uint64_t seed = 1;

  /// Declares --shape, --format, --to, --routing and --seed.
  void declare(CLI::App& verb);

  /// "qwen3-30b-a3b-q4_k_m.gguf".
  std::string file_name() const;

  /// Makes the model and writes it with a progress bar; without --to, rows are packed if the path ends in .moxie. A
  /// stop that was caught (catch_stop) ends it, and leaves nothing. Throws Error{usage} for a shape that is neither a
  /// name nor a file, an unknown format or routing, and what load_config, random_model and write_random_model throw.
  RandomModel write(const std::filesystem::path& path, int threads) const;
};

}  // namespace moxie::cli
