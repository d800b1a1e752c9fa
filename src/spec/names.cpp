#include "spec/names.h"

namespace moxie {

std::string_view name_of(Score score) {
  constexpr std::string_view names[] = {"softmax", "sigmoid", "sqrt_softplus", "raw", "sparsemixer"};
  return names[static_cast<size_t>(score)];
}

std::string_view name_of(GroupScore groups) {
  constexpr std::string_view names[] = {"none", "top2_sum", "max"};
  return names[static_cast<size_t>(groups)];
}

std::string_view name_of(SharedExpert shared) {
  constexpr std::string_view names[] = {"none", "plain", "sigmoid_gated"};
  return names[static_cast<size_t>(shared)];
}

std::string_view name_of(Activation activation) {
  constexpr std::string_view names[] = {"swiglu", "clamped_swiglu", "geglu"};
  return names[static_cast<size_t>(activation)];
}

std::string_view name_of(QkNorm norm) {
  constexpr std::string_view names[] = {"none", "per_head", "full"};
  return names[static_cast<size_t>(norm)];
}

std::string_view name_of(RopeScaling scaling) {
  constexpr std::string_view names[] = {"none", "linear", "llama3", "yarn", "longrope"};
  return names[static_cast<size_t>(scaling)];
}

std::string_view name_of(AttentionKind kind) {
  return kind == AttentionKind::mla ? "mla" : "gqa";
}

}  // namespace moxie
