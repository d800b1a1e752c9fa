// A new directory is there whole, or not at all.
#include "base/new_directory.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path fresh(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_new_directory_" + name);
  fs::remove_all(path);
  return path;
}

TEST(NewDirectory, appears_with_all_it_holds_when_it_is_committed) {
  const fs::path path = fresh("whole");
  NewDirectory directory(path.string() + "/");
  std::ofstream(directory.path() / "a") << "text";
  EXPECT_FALSE(fs::exists(path));
  directory.commit();
  EXPECT_EQ(fs::file_size(path / "a"), 4u);
}

TEST(NewDirectory, leaves_nothing_behind_when_it_is_not) {
  const fs::path path = fresh("none");
  fs::path temporary;
  {
    NewDirectory directory(path);
    temporary = directory.path();
    std::ofstream(temporary / "a") << "text";
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_FALSE(fs::exists(temporary));
}

TEST(NewDirectory, overwrites_nothing) {
  const fs::path path = fresh("taken");
  fs::create_directories(path);
  EXPECT_THROW(NewDirectory{path}, Error);
  fs::remove(path);
  NewDirectory directory(path);
  fs::create_directories(path / "others");
  EXPECT_THROW(directory.commit(), Error);
  EXPECT_TRUE(fs::exists(path / "others"));
}

}  // namespace
}  // namespace moxie
