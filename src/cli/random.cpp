// moxie random: a model of random weights at a real shape, as a GGUF file, packed if asked to.
#include <chrono>

#include "cli/shape_flags.h"
#include "cli/stop.h"

namespace moxie::cli {
namespace {

struct RandomFlags {
  ShapeFlags shape;
  std::string out;
  int threads = 0;
  bool overwrite = false, as_json = false;
};

void write_random(const RandomFlags& flags) {
  std::error_code ignored;
  if (std::filesystem::is_directory(flags.out, ignored)) {
    throw make_error(ErrorCode::usage, "{} is a directory", flags.out);
  }
  if (!flags.overwrite && std::filesystem::exists(flags.out, ignored)) {
    throw make_error(ErrorCode::usage, "{} exists already; --force writes over it", flags.out);
  }
  catch_stop();
  const auto start = std::chrono::steady_clock::now();
  const RandomModel model = flags.shape.write(flags.out, flags.threads);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const std::string& note : model.notes) say("note   " + note);
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(flags.out));
  const auto num_tensors = static_cast<int64_t>(model.tensors.size());
  if (flags.as_json) {
    json::Value out;
    out.set("schema_version", 1).set("out", flags.out).set("shape", flags.shape.shape);
    out.set("format", flags.shape.format).set("routing", flags.shape.routing).set("seed", flags.shape.seed);
    return print_json(out.set("bytes", bytes).set("tensors", num_tensors).set("seconds", seconds));
  }
  fmt::print("{}  {:.1f} MB  {} tensors  {:.1f} s\n", flags.out, static_cast<double>(bytes) / 1e6, num_tensors,
             seconds);
}

}  // namespace

void add_random(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("random", "Write a model of random weights at a real shape, to measure speed");
  auto flags = std::make_shared<RandomFlags>();
  flags->shape.declare(*verb);
  verb->get_option("--shape")->required();
  verb->add_option("out", flags->out, "File to write (GGUF); with packed rows if it ends in .moxie")->required();
  verb->add_option("-t,--threads", flags->threads, "Threads (default: as many as this process may use)")
      ->envname("MOXIE_THREADS")
      ->check(CLI::Range(1, 1024));
  verb->add_flag("--force", flags->overwrite, "Write over a file that exists");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] { write_random(*flags); });
}

}  // namespace moxie::cli
