// Names of the enums of ModelSpec, for reports and JSON. Not parsed back.
#pragma once

#include <string_view>

#include "spec/model_spec.h"

namespace moxie {

std::string_view name_of(Score score);
std::string_view name_of(GroupScore groups);
std::string_view name_of(SharedExpert shared);
std::string_view name_of(Activation activation);
std::string_view name_of(QkNorm norm);
std::string_view name_of(RopeScaling scaling);
std::string_view name_of(AttentionKind kind);

}  // namespace moxie
