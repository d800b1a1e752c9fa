#include "model/pack.h"

#include "base/error.h"
#include "format/packed.h"
#include "model/gguf_weights.h"

namespace moxie {

bool can_be_packed(std::string_view name, const Shape& shape, FormatId format) {
  return may_be_packed(name, shape) && can_pack(format) && shape[shape.rank() - 2] % kPackedRows == 0;
}

MadeTensor packed(MadeTensor plain) {
  MOXIE_CHECK(!plain.packed && can_be_packed(plain.name, plain.shape, plain.format));
  plain.packed = true;
  plain.make_rows = [make = std::move(plain.make_rows), format = plain.format, columns = plain.shape.back()](
                        int64_t begin, int64_t end, char* to) {
    const int64_t bytes = row_bytes(format, columns);
    std::vector<char> rows(static_cast<size_t>(kPackedRows * bytes));
    for (int64_t i = begin; i < end; i += kPackedRows, to += kPackedRows * bytes) {
      make(i, i + kPackedRows, rows.data());
      pack_rows(format, rows.data(), bytes, columns, to);
    }
  };
  return plain;
}

}  // namespace moxie
