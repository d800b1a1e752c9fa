// What the writers of tensor files share: rows, strided or not, streamed into a file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <string>

#include "base/file.h"
#include "tensor/tensor.h"

namespace moxie {

/// Collects short rows so that a strided view does not cost a system call a row. flush() before the file's commit().
class ViewStream {
 public:
  explicit ViewStream(AtomicFile& file) : file_(file) {}

  void write(std::string_view bytes);

  /// The rows of a view, without the gaps between them.
  void write(const View& view);

  void flush();

 private:
  AtomicFile& file_;
  std::string buffer_;
};

}  // namespace moxie
