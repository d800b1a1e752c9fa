#include "store/foreign_kind.h"

#include <algorithm>

namespace moxie {

constexpr size_t kSafetensorsBrace = 8;  // after the length of the header

std::string_view foreign_kind(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs")) return "a Git LFS pointer: run `git lfs pull` to fetch the weights";
  if (bytes.starts_with("\x1f\x8b")) return "a gzip file: gunzip it first";
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02")) {
    return "a pickle (PyTorch) file, which can run code and is never read: convert it to safetensors";
  }
  if (bytes.starts_with("GGUF")) return "a GGUF file";
  if (bytes.starts_with("lmgg") || bytes.starts_with("tjgg") || bytes.starts_with("fmgg")) {
    return "a GGML file, older than GGUF: convert the model again";
  }
  const size_t start = std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size());
  const std::string_view text = bytes.substr(start, 9);
  if (text.starts_with("<!DOCTYPE") || text.starts_with("<!doctype") || text.starts_with("<html") ||
      text.starts_with("<?xml") || text.starts_with("<HTML")) {
    return "an HTML page, not the file itself: the download went wrong";
  }
  if (bytes.size() > kSafetensorsBrace && bytes[kSafetensorsBrace] == '{') return "a safetensors file";
  return "";
}

}  // namespace moxie
