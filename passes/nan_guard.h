// Probabilities that are not numbers, set to 0: torch's attention does so where every position is masked.
#pragma once

#include "passes/ir.h"

namespace ifa::passes {

/// @return the node that holds the probabilities with 0 in place of NaN, when it and its test for NaN alone
/// use them; else null. It changes only rows in which every position is masked with -inf.
mindspore::CNodePtr NanGuardOf(const mindspore::AnfNodePtr &probabilities);

}  // namespace ifa::passes
