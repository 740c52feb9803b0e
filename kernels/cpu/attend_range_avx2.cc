// The kernels for AVX2, FMA and F16C; this source alone is compiled for it.
#include "vec_avx2.h"
#include "vectorised_attention.h"

namespace ifa::cpu {

const RangeKernels *Avx2Kernels() { return &kRangeKernels; }

}  // namespace ifa::cpu
