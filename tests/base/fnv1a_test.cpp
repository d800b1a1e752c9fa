// FNV-1a against the published vectors of its 64-bit form.
#include "base/fnv1a.h"

#include <gtest/gtest.h>

namespace moxie {
namespace {

TEST(Fnv1a, agrees_with_published_vectors) {
  EXPECT_EQ(fnv1a(""), 0xcbf29ce484222325u);
  EXPECT_EQ(fnv1a("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(fnv1a("foobar"), 0x85944171f73967e8u);
}

}  // namespace
}  // namespace moxie
