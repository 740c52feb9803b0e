// Decode attention on a CPU: one query position per sequence against a cache of keys and values.
// This is the whole interface of the core. It knows nothing of MindSpore.
#pragma once

#include <cstdint>

namespace ifa::cpu {

enum class DataType : uint8_t { kFloat32, kFloat16, kBFloat16, kInt8 };

/// Distances, in elements, between neighbours of a (batch, head, position, channel) tensor.
/// Channels are contiguous. A zero stride repeats the same memory along that dimension.
struct Strides {
  int64_t batch = 0;
  int64_t head = 0;
  int64_t position = 0;
};

/// One call. B batch, N query heads, kvN KV heads, S KV length, D head size; query head n reads KV head n /
/// (N / kvN).
///
///   score[n, j] = scale * dot(query[n], key[j]) + pse_shift[n, j];  replaced by -1e12 where mask[j] != 0
///   output[n]   = softmax_j(score[n]) @ value           over j in [0, length)
///
/// With a block table the cache is paged: position j of batch b is row j % block_size of the block
/// block_table[b, j / block_size]. Mask and pse_shift are indexed by j all the same.
///
/// An int8 cache holds (key + offset) * scale and (value + offset) * scale, with `antiquant_scale` and
/// `antiquant_offset`. An int8 output is output * scale + offset, with `quant_scale` and `quant_offset`,
/// saturated; NaN becomes 0.
///
/// Everything is computed in fp32 and rounded once, to `output_dtype`, half to even. A length of 0 gives a
/// row of zeros, quantised if the output is; a row in which every position is masked gives the mean of its
/// values. NaN and infinity spread as the formulas say, within their own head and batch; a weight below
/// 2^-126 is 0. Keys and values of masked positions are read only where reading is the cheaper way, or the
/// row has nothing above -1e12 to show: NaN or infinity in a masked value may or may not reach the output.
/// The same goes for positions at which pse_shift is -inf for all query heads of a KV head.
struct DecodeAttentionArgs {
  DataType dtype = DataType::kFloat32;         ///< of query, pse_shift and antiquant_*; not kInt8
  DataType kv_dtype = DataType::kFloat32;      ///< of key and value: `dtype` or kInt8
  DataType output_dtype = DataType::kFloat32;  ///< `dtype` or kInt8
  int64_t batch = 0;                           ///< B >= 1
  int64_t query_heads = 0;                     ///< N >= 1, a multiple of kv_heads
  int64_t kv_heads = 0;                        ///< kvN >= 1
  int64_t kv_length = 0;                       ///< S >= 1
  int64_t head_size = 0;                       ///< D, 1 to 512
  float scale = 1.0F;

  const void *query = nullptr;  ///< (B, N, D)
  const void *key = nullptr;    ///< (B, kvN, S, D), or (blocks, kvN, block_size, D), through key_strides
  const void *value = nullptr;  ///< like `key`, through value_strides
  void *output = nullptr;       ///< (B, N, D)
  Strides query_strides;        ///< `position` is not used
  Strides key_strides;          ///< in a paged cache `batch` leads from block to block, `position` within one
  Strides value_strides;
  Strides output_strides;  ///< `position` is not used

  const uint8_t *mask = nullptr;  ///< optional (B, S); a byte other than 0 hides the position
  int64_t mask_batch_stride = 0;

  const void *pse_shift = nullptr;  ///< optional (B, N, S), added after the scale
  int64_t pse_batch_stride = 0;
  int64_t pse_head_stride = 0;

  /// With an int8 cache: (2, kvN, D), or (2) if `antiquant_per_tensor`; first for key, then for value.
  const void *antiquant_scale = nullptr;
  const void *antiquant_offset = nullptr;  ///< optional, like antiquant_scale
  bool antiquant_per_tensor = false;

  const float *quant_scale = nullptr;   ///< with an int8 output: 1 value, or (N, D) if `quant_per_channel`
  const float *quant_offset = nullptr;  ///< optional, like quant_scale
  bool quant_per_channel = false;

  const int64_t *lengths = nullptr;  ///< optional, B values in [0, S]; positions beyond are not read

  /// Optional, B values: the position at which the `length` positions of a batch start. A negative one gives
  /// a row of zeros.
  const int64_t *starts = nullptr;

  /// Optional (B, max_blocks). Entries behind those that the lengths need are not read; blocks may be shared.
  const int32_t *block_table = nullptr;
  int64_t max_blocks = 0;   ///< max_blocks * block_size >= S
  int64_t block_size = 0;   ///< positions in a block
  int64_t block_count = 0;  ///< blocks in the cache
};

/// Instruction sets in rising order; the best that the machine has is the default.
enum class InstructionSet : uint8_t { kPortable, kNeon, kAvx2, kAvx512, kAmx };
inline constexpr InstructionSet kInstructionSets[] = {InstructionSet::kPortable, InstructionSet::kNeon,
                                                      InstructionSet::kAvx2, InstructionSet::kAvx512,
                                                      InstructionSet::kAmx};

struct ExecutionOptions {
  int threads = 0;                      ///< 0: ThreadCount()
  const InstructionSet *isa = nullptr;  ///< null: BestInstructionSet(); tests and benchmarks force one
};

/// Runs one call and returns when the output is complete. Safe to call from many threads at once and after
/// fork().
/// @throws std::invalid_argument naming the field, what it holds and what is allowed. Nothing is written
/// then.
void DecodeAttention(const DecodeAttentionArgs &args, const ExecutionOptions &options = {});

/// The best instruction set of this machine that this build holds.
InstructionSet BestInstructionSet();
const char *InstructionSetName(InstructionSet isa);

/// Threads that a call uses at most, the caller's included: what SetThreadCount() said, else OMP_NUM_THREADS,
/// else the CPUs that this process may run on.
int ThreadCount();
/// @param threads 0 returns to the default.
void SetThreadCount(int threads);

}  // namespace ifa::cpu
