// One problem: seeded tensors in guarded memory, the float64 reference, the comparison.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "decode_attention.h"
#include "guarded_buffer.h"
#include "tensor.h"

namespace ifa::cpu::test {

enum class Layout { kBnsd, kBsh, kPaddedRows };
enum class Lengths { kNone, kFull, kRandom, kWithZero };
enum class Mask { kNone, kPrefix, kSuffix, kRandom, kSparse, kAll };
enum class Pse { kNone, kPerBatch, kShared, kMinusInfinity, kLowest };

/// The blocks of a paged cache: every one used once, in random order; or few, which batches and positions
/// share.
enum class Paging { kNone, kOwnBlocks, kSharedBlocks };

/// Where the positions of a batch start: at 0, so that they end with S, anywhere, or before 0 (in one batch).
enum class Starts { kNone, kRight, kRandom, kBeyond };

/// Whether a cache or an output is int8, and how its parameters are given.
enum class Quantised { kNo, kPerTensor, kPerTensorWithOffset, kPerChannel, kPerChannelWithOffset };
constexpr int kQuantisedCount = 5;

enum class Parameter { kScale, kOffset };

struct ProblemSpec {
  DataType dtype = DataType::kFloat32;  ///< of what is not int8
  int64_t batch = 1;
  int64_t kv_heads = 1;
  int64_t group = 1;  ///< query heads for each KV head
  int64_t kv_length = 1;
  int64_t head_size = 64;
  Layout layout = Layout::kBnsd;
  Lengths lengths = Lengths::kNone;
  Mask mask = Mask::kNone;
  Pse pse = Pse::kNone;
  Starts starts = Starts::kNone;
  Paging paging = Paging::kNone;
  int64_t block_size = 16;
  Quantised cache = Quantised::kNo;
  Quantised output = Quantised::kNo;
  GuardedBuffer::Guard guard = GuardedBuffer::Guard::kBehind;
  uint64_t seed = 1;

  std::string Name() const;
};

/// Types, batch, heads, layout, lengths, mask, pse and seed at random; the rest is as above.
ProblemSpec DrawSpec(std::mt19937_64 *random);

class Problem {
 public:
  explicit Problem(const ProblemSpec &spec);

  /// Overwrites an element. Positions count from the start of the KV length.
  void SetQuery(int64_t batch, int64_t head, int64_t channel, double x);
  void SetKey(int64_t batch, int64_t kv_head, int64_t position, int64_t channel, double x);
  void SetValue(int64_t batch, int64_t kv_head, int64_t position, int64_t channel, double x);
  void SetPse(int64_t batch, int64_t head, int64_t position, double x);
  /// Of `tensor`: 0 for key, 1 for value. Heads and channels do not matter if the parameter is per tensor.
  void SetAntiquant(Parameter parameter, int64_t tensor, int64_t kv_head, int64_t channel, double x);
  void SetQuant(Parameter parameter, int64_t head, int64_t channel, double x);
  /// To be written to before Args().
  uint8_t *mask() { return Writable<uint8_t>(&mask_); }
  int64_t *lengths() { return Writable<int64_t>(&lengths_); }
  int64_t *starts() { return Writable<int64_t>(&starts_); }
  int32_t *block_table() { return Writable<int32_t>(&block_table_); }

  const uint8_t *mask() const { return reinterpret_cast<const uint8_t *>(mask_.data()); }
  const int64_t *lengths() const { return reinterpret_cast<const int64_t *>(lengths_.data()); }
  const int64_t *starts() const { return reinterpret_cast<const int64_t *>(starts_.data()); }
  const int32_t *block_table() const { return reinterpret_cast<const int32_t *>(block_table_.data()); }

  /// Arguments that point into this problem's memory. The output is filled with a number that no result
  /// holds, the inputs become read-only.
  DecodeAttentionArgs Args();

  /// (B, N, D) in float64, from the elements as stored; of an int8 output before it is rounded.
  std::vector<double> Reference() const;

  /// (B, N, D), what the output holds.
  std::vector<double> Output() const;

  /// Empty when the output agrees: fp32 within 5e-6 relative RMS, fp16 and bf16 within one rounding of each
  /// element, int8 the same but within reach of a half.
  std::string Compare(const std::vector<double> &reference) const;

  /// Runs and compares with every instruction set of this machine and with 1 and 3 threads; reports each.
  void RunAll(const std::string &name);

 private:
  template <typename T>
  static T *Writable(GuardedBuffer *buffer) {
    buffer->SetWritable(true);
    return reinterpret_cast<T *>(buffer->data());
  }
  void MakeInputsReadOnly();
  int64_t FirstShown(int64_t batch) const;  ///< the position; S if the mask hides all
  DataType CacheType() const;
  DataType OutputType() const;
  int64_t AntiquantIndex(int64_t tensor, int64_t kv_head, int64_t channel) const;
  double Dequantised(int64_t tensor, int64_t kv_head, int64_t channel, double x) const;
  double QuantScale(int64_t head, int64_t channel) const;
  double QuantOffset(int64_t head, int64_t channel) const;
  std::string CompareInt8(const std::vector<double> &reference) const;
  std::string CompareFloats(const std::vector<double> &reference) const;
  int64_t LengthOf(int64_t batch) const;
  int64_t FirstOf(int64_t batch) const;
  void DrawStarts(std::mt19937_64 *random);
  void DrawLengths(std::mt19937_64 *random);
  void DrawQuantisation(std::mt19937_64 *random);
  void DrawBlocks(std::mt19937_64 *random);
  void SpoilUnusedRows();
  int64_t KvOffset(int64_t batch, int64_t kv_head, int64_t position) const;

  ProblemSpec spec_;
  int64_t heads_;
  Strides kv_strides_;
  int64_t pse_batch_stride_ = 0;
  int64_t max_blocks_ = 0;
  int64_t block_count_ = 0;
  Tensor query_, key_, value_, output_, pse_, antiquant_scale_, antiquant_offset_, quant_scale_,
      quant_offset_;
  GuardedBuffer mask_, lengths_, starts_, block_table_;
};

/// RunAll() of the problem under its own name; where the environment variable IFA_TEST_EVERY is n, of every
/// n-th one only, for emulators and sanitizers. With an n that no dimension of a grid shares a divisor with,
/// each of its values stays.
void RunOfGrid(const ProblemSpec &spec);

/// Every instruction set that this machine runs.
std::vector<InstructionSet> UsableInstructionSets();

}  // namespace ifa::cpu::test
