// Which kernels this build holds and this machine runs.
#pragma once

#include "attend_range.h"
#include "decode_attention.h"

namespace ifa::cpu {

/// Null where the build has no code for `isa`, or the machine (or its operating system) does not run it.
const RangeKernels *UsableKernels(InstructionSet isa);

}  // namespace ifa::cpu
