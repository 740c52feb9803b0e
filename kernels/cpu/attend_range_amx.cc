// The kernels for AVX-512 with a matrix unit (AMX); this source alone is compiled for it.
#include "vec_avx512.h"
#include "vectorised_attention.h"
// after what it takes
#include "amx_attention.h"

namespace ifa::cpu {

const RangeKernels *AmxKernels() { return &kMatrixRangeKernels; }

}  // namespace ifa::cpu
