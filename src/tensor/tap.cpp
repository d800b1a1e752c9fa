#include "tensor/tap.h"

#include "base/file.h"

namespace moxie {

DirectoryTap::DirectoryTap(std::filesystem::path directory) : directory_(std::move(directory)) {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) throw make_error(ErrorCode::runtime, "{}: cannot create: {}", directory_.string(), error.message());
}

void DirectoryTap::record(std::string_view name, const View& view) {
  MOXIE_CHECK(view.format == FormatId::f32);
  std::string shape;
  for (const int64_t dim : view.shape.dims()) shape += fmt::format("{}, ", dim);
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape);
  // magic, version and length take 10 bytes; the data must begin at a multiple of 64
  header.append((64 - (header.size() + 11) % 64) % 64, ' ');
  header += '\n';
  AtomicFile file(directory_ / fmt::format("{:04}.{}.npy", step_, name));
  const char start[] = {'\x93',
                        'N',
                        'U',
                        'M',
                        'P',
                        'Y',
                        1,
                        0,
                        static_cast<char>(header.size() & 0xff),
                        static_cast<char>(header.size() >> 8)};
  file.write(start, sizeof(start));
  file.write(header);
  const auto bytes = static_cast<size_t>(row_bytes(FormatId::f32, view.shape.back()));
  for (int64_t row = 0; row < view.num_rows(); ++row) {
    file.write(static_cast<const char*>(view.data) + row * view.row_bytes, bytes);
  }
  file.commit();
}

}  // namespace moxie
