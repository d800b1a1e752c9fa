// The checkpoints of a run: saved whole or not at all, verified before they are believed, old ones kept by rule.
// Layout: docs/RUN_DIRECTORY.md.
#pragma once

#include <functional>

#include "train/model_directory.h"
#include "train/optimizer.h"
#include "train/train_state.h"

namespace moxie {

inline constexpr int64_t kCheckpointVersion = 1;

/// Everything a checkpoint holds.
struct CheckpointContent {
  const Parameters& parameters;
  const Optimizer& optimizer;
  const TrainState& state;
  const ModelFiles& files;
  const std::vector<int32_t>& eval_ids;  // experts that the last evaluation's tokens took, as Evaluator keeps them
};

/// RUN/checkpoints. Every call that writes expects that the run directory is ours (RunDirectory).
class CheckpointStore {
 public:
  /// Makes the directory and removes what a save or a removal left when it was killed. Throws Error{runtime}.
  explicit CheckpointStore(std::filesystem::path directory);

  /// Saves state.step: files into a directory beside, each synced, DONE with sizes and checksums last, then one rename.
  /// Throws Error{runtime} that names the bytes needed; then nothing of the save is left, and older ones are as before.
  void save(const CheckpointContent& content) const;

  /// Removes, of those up to `newest` (the one just saved), all but the last `keep_last` and `best_step` (0: none).
  /// Later ones do not count: they were skipped as damaged, and are replaced once the run comes by.
  void prune(int64_t newest, int64_t keep_last, int64_t best_step) const;
  /// Removes those after a step: a run went back behind them. Returns the steps removed.
  std::vector<int64_t> remove_after(int64_t step) const;

  /// Steps that have a directory, newest first, complete or not.
  std::vector<int64_t> steps() const;
  std::filesystem::path path(int64_t step) const;

  /// Throws Error{invalid} naming the file, and the size or checksum expected and found, or the version. Reads all.
  void verify(int64_t step) const;

  /// The newest that is whole, 0 if there is none; tells `say` of every newer one that is not, and why.
  int64_t newest_good(const std::function<void(const std::string&)>& say) const;

  TrainState load_state(int64_t step) const;
  /// Weights, moments and the parameters that no model file holds, exactly as they were saved; eval_ids likewise.
  void load(int64_t step, Parameters& parameters, Optimizer& optimizer, std::vector<int32_t>& eval_ids) const;

 private:
  void write_all(const std::filesystem::path& directory, const CheckpointContent& content) const;

  std::filesystem::path directory_;
};

/// Bytes that saving takes on the disk.
int64_t checkpoint_bytes(const CheckpointContent& content);

}  // namespace moxie
