// The kernels for AVX-512; this source alone is compiled for it.
#include "vec_avx512.h"
#include "vectorised_attention.h"

namespace ifa::cpu {

const RangeKernels *Avx512Kernels() { return &kRangeKernels; }

}  // namespace ifa::cpu
