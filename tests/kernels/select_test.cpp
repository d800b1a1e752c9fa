// Which kernel set is chosen, and how a user forces one.
#include <cstdlib>

#include "base/error.h"
#include "kernels/support.h"

namespace moxie::test {
namespace {

class Select : public testing::Test {
 protected:
  void TearDown() override { unsetenv("MOXIE_KERNELS"); }
};

TEST_F(Select, chooses_the_last_set_that_runs_here) {
  unsetenv("MOXIE_KERNELS");
  const KernelSet& chosen = choose_kernel_set();
  EXPECT_TRUE(runs_here(chosen));
  bool after = false;
  for (const KernelSet* set : all_kernel_sets()) {
    EXPECT_FALSE(after && runs_here(*set)) << set->name;
    after = after || set == &chosen;
  }
}

TEST_F(Select, obeys_the_environment) {
  for (const KernelSet* set : all_kernel_sets()) {
    setenv("MOXIE_KERNELS", std::string(set->name).c_str(), 1);
    if (runs_here(*set)) {
      EXPECT_EQ(&choose_kernel_set(), set);
    } else {
      EXPECT_THROW(choose_kernel_set(), Error);
    }
  }
}

TEST_F(Select, refuses_an_unknown_name_and_lists_the_known_ones) {
  setenv("MOXIE_KERNELS", "avx9000", 1);
  try {
    choose_kernel_set();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    for (const KernelSet* set : all_kernel_sets()) {
      EXPECT_NE(error.text().find(set->name), std::string::npos) << error.text();
    }
  }
}

TEST_F(Select, gives_every_set_a_whole_table) {
  for (const KernelSet* set : all_kernel_sets()) {
    EXPECT_EQ(find_kernel_set(set->name), set);
    EXPECT_FALSE(set->summary.empty());
    for (bool present :
         {set->activation_format != nullptr, set->encode_row != nullptr, set->decode_row != nullptr,
          set->gemm_scratch_bytes != nullptr, set->gemm != nullptr, set->tile_rows != nullptr,
          set->gemm_in_major != nullptr, set->attention_scratch_bytes != nullptr, set->attention != nullptr,
          set->rms_norm != nullptr, set->layer_norm != nullptr, set->rope != nullptr, set->glu != nullptr,
          set->add_scaled != nullptr, set->scale != nullptr, set->softmax != nullptr}) {
      EXPECT_TRUE(present) << set->name;
    }
  }
}

}  // namespace
}  // namespace moxie::test
