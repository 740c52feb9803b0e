// Numbers that MindSpore leaves to the run although all that they are computed from is known: the root of a
// size, mostly.
#pragma once

#include <optional>

#include "mindspore/core/include/ir/anf.h"

namespace ifa::passes {

/// @return the one element of the node, when it is a power, root, product or quotient of known numbers, or a
/// known size out of a tensor's shape; nothing otherwise.
std::optional<double> ComputedNumber(const mindspore::AnfNodePtr &node);

}  // namespace ifa::passes
