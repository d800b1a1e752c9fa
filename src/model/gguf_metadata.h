// What spec/ and text/ say of a model as the metadata that store/ writes.
#pragma once

#include "spec/gguf_export.h"
#include "store/gguf.h"
#include "text/gguf_vocabulary.h"

namespace moxie {

void put_architecture(const GgufExport& made, GgufMetadata& metadata);
void put_vocabulary(const text::GgufVocabulary& vocabulary, GgufMetadata& metadata);

}  // namespace moxie
