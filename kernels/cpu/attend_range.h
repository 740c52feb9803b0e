// What one instruction set offers: attention over a range of positions, merging of partial results, the final
// rounding. Plain declarations only: this header is seen by sources compiled for different instruction sets.
#pragma once

#include <cstdint>

#include "decode_attention.h"
#include "kv_walker.h"

namespace ifa::cpu {

/// How a row of D channels is quantised: by one scale and offset for all, or by one for each channel.
struct Quantisation {
  DataType dtype = DataType::kFloat32;  ///< of scale and offset
  const void *scale = nullptr;          ///< null: not quantised
  const void *offset = nullptr;         ///< null: 0
  bool per_channel = false;
};

/// The G query heads of one batch that read the same KV head. Strides in elements.
struct HeadGroup {
  DataType dtype = DataType::kFloat32;  ///< of query and pse_shift
  DataType kv_dtype = DataType::kFloat32;
  DataType output_dtype = DataType::kFloat32;
  int64_t heads = 0;      ///< G
  int64_t head_size = 0;  ///< D
  float scale = 1.0F;
  const void *query = nullptr;  ///< (G, D)
  int64_t query_stride = 0;
  const void *pse_shift = nullptr;  ///< (G, S), null for none
  int64_t pse_stride = 0;
  void *output = nullptr;  ///< (G, D)
  int64_t output_stride = 0;
  Quantisation key_quantisation;
  Quantisation value_quantisation;
  Quantisation output_quantisation;  ///< per channel: (G, D)
};

/// In floats: the longest vector. What starts in fp32 scratch at a multiple of it is aligned, and whole
/// vectors may be stored to what is rounded up to one.
constexpr int64_t kScratchAlignment = 16;
int64_t AlignedFloats(int64_t floats);
/// Floats between the rows of two heads in fp32 scratch.
int64_t PaddedHeadSize(int64_t head_size);

/// Softmax over some of the positions, not yet normalised: for each head the largest score m, sum(exp(score -
/// m)) and sum(exp(score - m) * value). The memory, PartialSoftmaxFloats() of it, belongs to the caller.
struct PartialSoftmax {
  float *weighted_values;  ///< (G, PaddedHeadSize(D))
  float *max;              ///< (G)
  float *sum;              ///< (G)
};
int64_t PartialSoftmaxFloats(int64_t heads, int64_t head_size);
PartialSoftmax PartialSoftmaxIn(float *memory, int64_t heads, int64_t head_size);

struct RangeKernels {
  /// All positions of the walker, into `result`, which need not be initialised. `following`, null if unknown,
  /// is a tile that the thread will probably read afterwards: it is prefetched during the last one.
  void (*attend)(const HeadGroup &group, KvWalker walker, const KvTile *following,
                 const PartialSoftmax &result, float *scratch);
  /// Adds `part` to `total`: as if their positions had been one range.
  void (*merge)(const HeadGroup &group, const PartialSoftmax &part, const PartialSoftmax &total);
  /// Normalises, rounds and writes the output of the group.
  void (*write)(const HeadGroup &group, const PartialSoftmax &total);
  /// The output of a group without positions.
  void (*write_zeros)(const HeadGroup &group);
  /// Floats that `attend` needs besides its result, aligned to 64 bytes.
  int64_t (*scratch_floats)(int64_t heads, int64_t head_size);
};

/// Each is built for its architecture only; instruction_set.h says which ones a process may use.
const RangeKernels *PortableKernels();
const RangeKernels *NeonKernels();
const RangeKernels *Avx2Kernels();
const RangeKernels *Avx512Kernels();
const RangeKernels *AmxKernels();

}  // namespace ifa::cpu
