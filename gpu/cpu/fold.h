#pragma once

#include "gpu/packing.h"

namespace winnow {

// Fold of one head, with the best vectors of the machine; the same bits as
// ReferencePacking.
void FoldHead(const FoldArgs& head);

}  // namespace winnow
