// The pass itself: visits every function graph, tries every softmax, rewrites what is proved, reports
// everything.
#pragma once

#include "mindspore/core/include/ir/func_graph.h"

namespace ifa::passes {

/// @return whether the graph was changed.
bool FuseDecodeAttention(const mindspore::FuncGraphPtr &root);

}  // namespace ifa::passes
