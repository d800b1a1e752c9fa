// Files that appear whole or not at all, and the room they ask for.
#include "base/file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path fresh(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_file_" + name);
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

size_t num_entries(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(AtomicFile, can_be_read_before_it_appears) {
  const fs::path directory = fresh("read");
  AtomicFile file(directory / "a");
  file.write("text");
  EXPECT_EQ(file.path(), directory / "a");
  EXPECT_FALSE(fs::exists(file.path()));
  EXPECT_EQ(read_file(file.temporary(), 10), "text");
  file.commit();
  EXPECT_EQ(read_file(directory / "a", 10), "text");
  EXPECT_EQ(num_entries(directory), 1u);
}

TEST(AtomicFile, leaves_nothing_and_writes_over_nothing_without_commit) {
  const fs::path directory = fresh("gone");
  {
    AtomicFile whole(directory / "a");
    whole.write("before");
    whole.commit();
    AtomicFile file(directory / "a");
    file.write("after");
  }
  EXPECT_EQ(read_file(directory / "a", 10), "before");
  EXPECT_EQ(num_entries(directory), 1u);
}

TEST(AtomicFile, two_writers_of_one_file_do_not_meet) {
  const fs::path directory = fresh("two");
  AtomicFile one(directory / "a"), other(directory / "a");
  one.write("one");
  other.write("the other");
  one.commit();
  EXPECT_EQ(read_file(directory / "a", 10), "one");
  other.commit();
  EXPECT_EQ(read_file(directory / "a", 10), "the other");
  EXPECT_EQ(num_entries(directory), 1u);
}

TEST(CheckRoom, says_where_and_how_much_does_not_fit) {
  const fs::path directory = fresh("room");
  for (const fs::path& path : {directory, directory / "file", directory / "not/yet/there/", fs::path("relative")}) {
    check_room(path, 1);
    try {
      check_room(path, int64_t{1} << 60);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::does_not_fit);
      EXPECT_EQ(error.text().find(path.string() + ": expected room for 1152921504606.8 MB on the disk, got "), 0u)
          << error.text();
    }
  }
}

}  // namespace
}  // namespace moxie
