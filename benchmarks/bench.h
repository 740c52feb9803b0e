// One timed call of the kernel, or of the read probe, behind an interface that ctypes can load: the time is
// taken in here, so that what a call from Python costs is not in it. It owns no memory.
#pragma once

#include <cstdint>

#define IFA_BENCH_EXPORT __attribute__((visibility("default")))

extern "C" {

/// Decode attention over contiguous tensors; B, N, kvN, S and D as in DecodeAttentionArgs.
struct IfaBenchCall {
  int64_t dtype;     ///< of query and output, an ifa::cpu::DataType
  int64_t kv_dtype;  ///< of key and value: `dtype`, or kInt8
  int64_t batch, query_heads, kv_heads, kv_length, head_size;
  int64_t block_size;           ///< of a paged cache, a divisor of S; or 0
  const int32_t *block_table;   ///< (B, S / block_size) in a paged cache
  const void *query;            ///< (B, N, D)
  const void *key;              ///< (B, kvN, S, D); paged: (B * S / block_size, kvN, block_size, D)
  const void *value;            ///< like `key`
  const void *antiquant_scale;  ///< (2, kvN, D) of `dtype`, for an int8 cache
  const int64_t *lengths;       ///< (B), or null
  const int64_t *starts;        ///< (B), or null
  const uint8_t *mask;          ///< (B, S), or null
  void *output;                 ///< (B, N, D)
  int64_t threads;
  const char *isa;  ///< the name of an instruction set; null: the best
};

/// Runs the call with the softmax scale 1 / sqrt(D). Returns microseconds, or a negative number when the
/// arguments were refused: ifa_bench_error() says why.
IFA_BENCH_EXPORT double ifa_bench_attend(const IfaBenchCall *call);

/// Reads `bytes` of key and as many of value, in the ReadPattern of the number `pattern`, 0 to 2. Returns
/// microseconds.
IFA_BENCH_EXPORT double ifa_bench_read(const void *key, const void *value, int64_t bytes, int64_t threads,
                                       int64_t pattern);

/// The instruction set that is used when none is named.
IFA_BENCH_EXPORT const char *ifa_bench_best_isa();

/// Why the last call of this thread was refused.
IFA_BENCH_EXPORT const char *ifa_bench_error();
}
