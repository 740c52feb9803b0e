// The kernels for 64-bit Arm; this source alone is compiled for it.
#include "vec_neon.h"
#include "vectorised_attention.h"

namespace ifa::cpu {

const RangeKernels *NeonKernels() { return &kRangeKernels; }

}  // namespace ifa::cpu
