// libFuzzer: any bytes as the metrics.jsonl that a resumed run cuts. What stays is whole lines without damage, and a
// second cut leaves it as it is.
#include <cstdint>
#include <cstdlib>

#include "train/metrics.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const moxie::CutLines cut = moxie::cut_lines({reinterpret_cast<const char*>(data), size}, "metrics.jsonl", 2);
  if (cut.text.size() > size || (!cut.text.empty() && cut.text.back() != '\n')) std::abort();
  const moxie::CutLines again = moxie::cut_lines(cut.text, "again", 2);
  if (again.text != cut.text || !again.damage.empty()) std::abort();
  return 0;
}
