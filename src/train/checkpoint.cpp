#include "train/checkpoint.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/new_directory.h"
#include "train/run_directory.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestText = size_t{64} << 20;
constexpr int64_t kRoomForTexts = 1 << 16;  // headers, DONE, directories
constexpr std::string_view kPrefix = "step-", kTemporary = ".tmp";

// Parameters that a model directory does not hold, or not for sure to the last bit.
bool kept_apart(const Parameter& parameter) {
  return parameter.training_only || parameter.kind == ParameterKind::selection_bias;
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void write_optimizer(const fs::path& path, const CheckpointContent& content) {
  const Parameters& parameters = content.parameters;
  const Shape block{parameters.size()};
  std::vector<NamedView> tensors = {{"adam.m", dense_view(content.optimizer.first_moment(), FormatId::f32, block)},
                                    {"adam.v", dense_view(content.optimizer.second_moment(), FormatId::f32, block)},
                                    {"eval_ids", dense_view(content.eval_ids.data(), FormatId::i32,
                                                            {static_cast<int64_t>(content.eval_ids.size())})}};
  for (const Parameter& parameter : parameters.list()) {
    if (!kept_apart(parameter)) continue;
    tensors.push_back({"parameter." + parameter.name,
                       dense_view(parameters.values() + parameter.offset, FormatId::f32, parameter.shape)});
  }
  write_safetensors(path, tensors);
}

const Tensor& find_tensor(const Checkpoint& checkpoint, const std::string& name, FormatId format,
                          std::optional<Shape> shape, const fs::path& path) {
  const Tensor* tensor = checkpoint.find(name);
  if (tensor == nullptr || tensor->view.format != format || (shape && !(tensor->view.shape == *shape))) {
    throw invalid({.where = fmt::format("{}: {}", path.string(), name),
                   .expected = fmt::format("{} {}", format_name(format), shape ? shape->str() : "[N]"),
                   .got = tensor == nullptr
                              ? "none of that name"
                              : fmt::format("{} {}", format_name(tensor->view.format), tensor->view.shape.str()),
                   .hint = "The checkpoint is of another architecture."});
  }
  return *tensor;
}

struct Listed {
  std::string name;
  int64_t bytes = 0;
  uint32_t crc = 0;
};

// Size and checksum of a file, read piece by piece: mapped, a large checkpoint would count as memory in use.
Listed look_at(const fs::path& path) {
  Listed file{.name = path.filename().string()};
  file.bytes = read_pieces(path, [&](std::string_view piece) { file.crc = crc32c(piece, file.crc); });
  return file;
}

json::Value manifest_of(const fs::path& directory, int64_t step) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  json::Value files{json::Array{}}, done;
  for (const fs::path& path : paths) {
    const Listed listed = look_at(path);
    json::Value file;
    file.set("name", listed.name).set("bytes", listed.bytes);
    files.push(file.set("crc32c", fmt::format("{:08x}", listed.crc)));
  }
  done.set("format_version", kCheckpointVersion).set("step", step);
  return done.set("files", std::move(files));
}

Error bad_manifest(const fs::path& path, const json::Value& at, const char* expected) {
  return invalid({.where = fmt::format("{}: byte {}", path.string(), at.offset()),
                  .expected = expected,
                  .got = printable(at.dump())});
}

Listed parse_listed(const json::Value& entry, const fs::path& path) {
  const json::Value *name = entry.find("name"), *bytes = entry.find("bytes"), *crc = entry.find("crc32c");
  Listed listed;
  if (name == nullptr || !name->is_string() || name->as_string().find('/') != std::string::npos) {
    throw bad_manifest(path, entry, "a file with its plain name");
  }
  listed.name = name->as_string();
  if (bytes == nullptr || !bytes->as_int()) throw bad_manifest(path, entry, "a file with its bytes");
  listed.bytes = *bytes->as_int();
  const std::string digits = crc != nullptr && crc->is_string() ? crc->as_string() : "";
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), listed.crc, 16);
  if (digits.size() != 8 || read.ptr != digits.data() + 8) throw bad_manifest(path, entry, "a crc32c of 8 hex digits");
  return listed;
}

std::vector<Listed> read_manifest(const fs::path& directory, int64_t step) {
  const fs::path path = directory / "DONE";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw invalid({.where = directory.string(), .expected = "DONE", .got = "none: the save was not finished"});
  }
  const json::Value root = json::parse(read_file(path, kLargestText), {.source = path.string()});
  const json::Value *version = root.find("format_version"), *of = root.find("step"), *files = root.find("files");
  if (version == nullptr || !version->as_int() || *version->as_int() < 1) {
    throw bad_manifest(path, root, "a format_version");
  }
  if (*version->as_int() > kCheckpointVersion) {
    throw invalid({.where = path.string() + ": format_version",
                   .expected = fmt::format("at most {}", kCheckpointVersion),
                   .got = std::to_string(*version->as_int()),
                   .hint = "A newer moxie wrote it."});
  }
  if (of == nullptr || of->as_int() != step) throw bad_manifest(path, root, "the step of its directory");
  if (files == nullptr || !files->is_array()) throw bad_manifest(path, root, "a list of files");
  std::vector<Listed> listed;
  for (const json::Value& entry : files->items()) listed.push_back(parse_listed(entry, path));
  for (const char* name : {"config.json", "model.safetensors", "optimizer.safetensors", "train_state.json"}) {
    if (std::none_of(listed.begin(), listed.end(), [&](const Listed& file) { return file.name == name; })) {
      throw invalid({.where = path.string(), .expected = fmt::format("{} in the list", name), .got = "none"});
    }
  }
  return listed;
}

std::string name_of(int64_t step) {
  return fmt::format("{}{:06}", kPrefix, step);
}

// 500 of "step-000500"; 0 if it is no such name ("step-500" is not one).
int64_t step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  int64_t step = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  return step > 0 && name == name_of(step) ? step : 0;
}

int64_t free_bytes(const fs::path& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return INT64_MAX;  // unknown: the writes will tell
  return static_cast<int64_t>(std::min<uint64_t>(uint64_t{status.f_bavail} * status.f_frsize, INT64_MAX));
}

}  // namespace

int64_t checkpoint_bytes(const CheckpointContent& content) {
  std::vector<Tensor> owners;
  int64_t bytes = kRoomForTexts + 2 * content.parameters.size() * static_cast<int64_t>(sizeof(float));
  bytes += static_cast<int64_t>(content.eval_ids.size() * sizeof(int32_t) + to_json(content.state).dump(1).size());
  for (const NamedView& tensor : content.parameters.export_tensors(content.parameters.values(), owners)) {
    bytes += tensor.view.num_bytes() + 200;  // and its place in the header
  }
  for (const TrainData::ExportFile& text : model_texts(content.files, FormatId::f32)) {
    bytes += static_cast<int64_t>(text.text.size());
  }
  return bytes;
}

CheckpointStore::CheckpointStore(fs::path directory) : directory_(std::move(directory)) {
  try {
    fs::create_directories(directory_);
    for (const auto& entry : fs::directory_iterator(directory_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(kPrefix) && name.ends_with(kTemporary)) fs::remove_all(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    throw make_error(ErrorCode::runtime, "{}: {}", directory_.string(), error.what());
  }
}

fs::path CheckpointStore::path(int64_t step) const {
  return directory_ / name_of(step);
}

void CheckpointStore::write_all(const fs::path& directory, const CheckpointContent& content) const {
  fs::create_directories(directory);
  write_model(directory, content.parameters, content.files, FormatId::f32);
  write_optimizer(directory / "optimizer.safetensors", content);
  write_text(directory / "train_state.json", to_json(content.state).dump(1) + "\n");
  write_text(directory / "DONE", manifest_of(directory, content.state.step).dump(1) + "\n");
  sync_directory(directory);
}

void CheckpointStore::save(const CheckpointContent& content) const {
  const fs::path target = path(content.state.step);
  fs::path made = target;
  made += kTemporary;
  const int64_t bytes = checkpoint_bytes(content);
  try {
    fs::remove_all(made);
    if (const int64_t room = free_bytes(directory_); room < bytes) {
      throw make_error(ErrorCode::runtime, "only {} bytes are free", room);
    }
    write_all(made, content);
    replace_directory(made, target);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(made, ignored);
    throw make_error(ErrorCode::runtime,
                     "{}: cannot be saved ({} bytes needed): {}. Older checkpoints are as they were.", target.string(),
                     bytes, error.what());
  }
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> steps;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_, ignored)) {
    if (const int64_t step = step_of(entry.path().filename().string()); step > 0) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

namespace {

// Renamed first: a removal that is killed leaves a temporary, not half a checkpoint.
void remove_checkpoint(const fs::path& path) {
  fs::path doomed = path;
  doomed += kTemporary;
  std::error_code ignored;
  fs::remove_all(doomed, ignored);
  fs::rename(path, doomed, ignored);
  fs::remove_all(doomed, ignored);
}

}  // namespace

void CheckpointStore::prune(int64_t newest, int64_t keep_last, int64_t best_step) const {
  int64_t rank = 0;
  for (const int64_t step : steps()) {
    if (step > newest) continue;
    if (rank++ >= std::max<int64_t>(keep_last, 1) && step != best_step) remove_checkpoint(path(step));
  }
}

std::vector<int64_t> CheckpointStore::remove_after(int64_t step) const {
  std::vector<int64_t> removed = steps();
  std::erase_if(removed, [&](int64_t each) { return each <= step; });
  for (const int64_t each : removed) remove_checkpoint(path(each));
  return removed;
}

void CheckpointStore::verify(int64_t step) const {
  const fs::path directory = path(step);
  for (const Listed& listed : read_manifest(directory, step)) {
    const fs::path file = directory / listed.name;
    const Listed found = look_at(file);
    if (found.bytes != listed.bytes) {
      throw invalid({.where = file.string(),
                     .expected = fmt::format("{} bytes", listed.bytes),
                     .got = fmt::format("{}", found.bytes)});
    }
    if (found.crc != listed.crc) {
      throw invalid({.where = file.string(),
                     .expected = fmt::format("crc32c {:08x}", listed.crc),
                     .got = fmt::format("{:08x}", found.crc),
                     .hint = "The file is damaged."});
    }
  }
  load_state(step);
}

int64_t CheckpointStore::newest_good(const std::function<void(const std::string&)>& say) const {
  for (const int64_t step : steps()) {
    try {
      verify(step);
      return step;
    } catch (const Error& error) {
      say(fmt::format("checkpoint {} is skipped: {}", path(step).filename().string(), error.text()));
    }
  }
  return 0;
}

TrainState CheckpointStore::load_state(int64_t step) const {
  const fs::path file = path(step) / "train_state.json";
  TrainState state = parse_train_state(read_file(file, kLargestText), file.string());
  if (state.step != step) {
    throw invalid(
        {.where = file.string() + ": step", .expected = std::to_string(step), .got = std::to_string(state.step)});
  }
  return state;
}

void CheckpointStore::load(int64_t step, Parameters& parameters, Optimizer& optimizer,
                           std::vector<int32_t>& eval_ids) const {
  parameters.load(path(step));
  const fs::path file = path(step) / "optimizer.safetensors";
  const Checkpoint checkpoint = Checkpoint::open(file);
  const auto copy = [&](const std::string& name, const Shape& shape, float* to) {
    const Tensor& tensor = find_tensor(checkpoint, name, FormatId::f32, shape, file);
    std::memcpy(to, tensor.view.data, static_cast<size_t>(tensor.view.num_bytes()));
  };
  copy("adam.m", {parameters.size()}, optimizer.first_moment());
  copy("adam.v", {parameters.size()}, optimizer.second_moment());
  for (const Parameter& parameter : parameters.list()) {
    if (kept_apart(parameter)) {
      copy("parameter." + parameter.name, parameter.shape, parameters.values() + parameter.offset);
    }
  }
  const View ids = find_tensor(checkpoint, "eval_ids", FormatId::i32, std::nullopt, file).view;
  const auto* first = static_cast<const int32_t*>(ids.data);
  eval_ids.assign(first, first + ids.shape.num_elems());
}

}  // namespace moxie
