// The kernels for any machine.
#include "vec_portable.h"
#include "vectorised_attention.h"

namespace ifa::cpu {

const RangeKernels *PortableKernels() { return &kRangeKernels; }

}  // namespace ifa::cpu
