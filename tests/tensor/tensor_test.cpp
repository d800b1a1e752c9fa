// Shapes and views: what lies where, also in rows with gaps and with scales beside them.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstring>

namespace moxie {
namespace {

TEST(Shape, knows_its_dimensions) {
  const Shape shape{8, 3, 64};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.num_elems(), 8 * 3 * 64);
  EXPECT_EQ(shape.back(), 64);
  EXPECT_EQ(shape.str(), "[8, 3, 64]");
  EXPECT_TRUE(shape == (Shape{8, 3, 64}));
  EXPECT_FALSE(shape == (Shape{8, 3}));
  EXPECT_FALSE(shape == (Shape{8, 64, 3}));
}

TEST(Shape, of_rank_zero_is_one_element) {
  EXPECT_EQ(Shape().num_elems(), 1);
  EXPECT_EQ(Shape().back(), 1);
  EXPECT_EQ(Shape().str(), "[]");
  EXPECT_EQ((Shape{4, 0}).num_elems(), 0);
}

TEST(View, of_dense_rows_has_no_gaps) {
  const View f32 = dense_view(nullptr, FormatId::f32, {2, 3, 64});
  EXPECT_EQ(f32.row_bytes, 256);
  EXPECT_EQ(f32.num_rows(), 6);
  EXPECT_EQ(f32.num_bytes(), 6 * 256);
  EXPECT_EQ(dense_view(nullptr, FormatId::bf16, {5, 7}).row_bytes, 14);
  EXPECT_EQ(dense_view(nullptr, FormatId::mxfp4, {5, 64}).row_bytes, 32);
  EXPECT_EQ(dense_view(nullptr, FormatId::f32, {5, 0}).num_rows(), 0);
  EXPECT_EQ(dense_view(nullptr, FormatId::f32, {}).num_bytes(), 4);
}

TEST(View, takes_rows_with_their_gaps_and_scales) {
  char data[400] = {}, scales[40] = {};
  View view = dense_view(data, FormatId::mxfp4, {10, 64});
  view.row_bytes = 40;  // eight bytes of others after each row
  view.scales = scales;
  view.scale_row_bytes = 4;
  const View part = view.rows(3, 7);
  EXPECT_EQ(part.shape, (Shape{4, 64}));
  EXPECT_EQ(part.data, data + 120);
  EXPECT_EQ(part.scales, scales + 12);
  EXPECT_EQ(part.row_bytes, 40);
  EXPECT_EQ(view.rows(10, 10).shape, (Shape{0, 64}));
  EXPECT_EQ(view.num_bytes(), 10 * (32 + 4));
}

TEST(View, takes_one_entry_of_the_outermost_dimension) {
  char data[2 * 3 * 128] = {}, scales[2 * 3 * 2] = {};
  View view = dense_view(data, FormatId::mxfp4, {2, 3, 64});
  view.scales = scales;
  view.scale_row_bytes = 2;
  const View second = view[1];
  EXPECT_EQ(second.shape, (Shape{3, 64}));
  EXPECT_EQ(second.data, data + 3 * 32);
  EXPECT_EQ(second.scales, scales + 6);
  const View row = second[2];
  EXPECT_EQ(row.shape, (Shape{64}));
  EXPECT_EQ(row.data, data + 5 * 32);
  EXPECT_EQ(row.scales, scales + 10);
}

TEST(View, out_of_range_is_a_bug_that_is_caught) {
  const View view = dense_view(nullptr, FormatId::f32, {4, 8});
  EXPECT_DEATH(view.rows(2, 5), "end <= shape");
  EXPECT_DEATH(view.rows(3, 2), "begin <= end");
  EXPECT_DEATH(view[4], "index < shape");
  EXPECT_DEATH(dense_view(nullptr, FormatId::bf16, {4, 8}).f32(), "f32");
}

TEST(Tensor, of_zeros_is_aligned_and_lives_as_long_as_its_owner) {
  std::shared_ptr<const void> owner;
  float* data = nullptr;
  {
    auto [tensor, memory] = Tensor::zeros_f32({3, 5});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
    EXPECT_EQ(tensor.view.data, memory);
    for (int i = 0; i < 15; ++i) EXPECT_EQ(memory[i], 0);
    owner = tensor.owner;
    data = memory;
  }
  data[14] = 1;  // under the address sanitizer: still there
  EXPECT_EQ(owner.use_count(), 1);
}

}  // namespace
}  // namespace moxie
