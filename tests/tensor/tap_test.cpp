// The directory tap writes what numpy reads: magic, a padded header, rows without gaps.
#include "tensor/tap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

namespace moxie {
namespace {

class DirectoryTapTest : public testing::Test {
 protected:
  DirectoryTapTest() {
    std::string name = (std::filesystem::temp_directory_path() / "moxie-tap-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  ~DirectoryTapTest() override { std::filesystem::remove_all(root_); }

  static std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path root_;
};

// The format as numpy.lib.format documents it, version 1.0.
TEST_F(DirectoryTapTest, writes_npy_files_step_by_step) {
  const float data[] = {1, 2, 3, -1, 4, 5, 6, -1};
  View view = dense_view(data, FormatId::f32, {2, 3});
  view.row_bytes = 16;  // one float of others after each row
  DirectoryTap tap(root_ / "new" / "taps");
  tap.record("layers.0.ffn", view);
  tap.next_step();
  tap.record("logits", dense_view(data, FormatId::f32, {4}));

  const std::string file = bytes_of(root_ / "new" / "taps" / "0000.layers.0.ffn.npy");
  ASSERT_GT(file.size(), 10u);
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\1\0", 8));
  const size_t header = static_cast<unsigned char>(file[8]) | static_cast<size_t>(static_cast<unsigned char>(file[9]))
                                                                  << 8;
  EXPECT_EQ((10 + header) % 64, 0u);
  ASSERT_EQ(file.size(), 10 + header + 6 * sizeof(float));
  EXPECT_EQ(file[10 + header - 1], '\n');
  EXPECT_EQ(file.substr(10, 61), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, ), }");
  const float expected[] = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(0, std::memcmp(file.data() + 10 + header, expected, sizeof expected));
  EXPECT_TRUE(std::filesystem::exists(root_ / "new" / "taps" / "0001.logits.npy"));
}

TEST_F(DirectoryTapTest, a_directory_that_cannot_be_made_is_an_error) {
  std::ofstream(root_ / "file") << "x";
  try {
    DirectoryTap tap(root_ / "file" / "taps");
    ADD_FAILURE() << "made below a file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::runtime);
    EXPECT_NE(error.text().find("taps"), std::string::npos);
  }
}

}  // namespace
}  // namespace moxie
