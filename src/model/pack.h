// Tensors of a file for moxie alone: rows packed where that serves products and where they can be (format/packed.h).
#pragma once

#include "store/gguf.h"

namespace moxie {

/// A matrix, or a stack of one an expert, of whole groups of rows in a format that can be packed.
bool can_be_packed(std::string_view name, const Shape& shape, FormatId format);

/// The tensor with packed rows; one that can be packed (CHECKed), and is not yet.
MadeTensor packed(MadeTensor plain);

}  // namespace moxie
