// One call of the operator IncreFlashAttention as a framework hands it over: 15 operands and 6 attributes,
// nothing of which is trusted. `PlanCall` checks all of it and says what to compute. It knows nothing of
// MindSpore.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "decode_attention.h"

namespace ifa::cpu {

enum class OperandType : uint8_t {
  kAbsent,
  kBool,
  kInt8,
  kUInt8,
  kInt32,
  kInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kOther
};

/// Bytes of one element; 0 for kAbsent and kOther.
int64_t OperandTypeSize(OperandType type);

/// The type of elements that the kernel computes with; fp32 for those that it does not.
DataType CoreType(OperandType type);

/// An operand's type and shape. An absent one has the type kAbsent.
struct Operand {
  OperandType type = OperandType::kAbsent;
  std::string type_name;  ///< for messages
  std::vector<int64_t> shape;

  bool present() const { return type != OperandType::kAbsent; }
};

/// How the heads and positions of query and output, and of key and value, lie in memory.
enum class Layout : int64_t {
  kBsh = 0,   ///< (B, S, N * D)
  kBnsd = 1,  ///< (B, N, S, D)
};

/// Members are named as the operator's arguments; the order is that of the primitive's inputs.
struct OperatorCall {
  Operand query, key, value, attn_mask, actual_seq_lengths, pse_shift;
  Operand dequant_scale1, quant_scale1, dequant_scale2, quant_scale2, quant_offset2;
  Operand antiquant_scale, antiquant_offset, block_table, kv_padding_size;
  int64_t num_heads = 0;
  int64_t input_layout = 0;  ///< a Layout, if it is one
  float scale_value = 1.0F;
  int64_t num_key_value_heads = 0;
  int64_t block_size = 0;
  int64_t inner_precise = 1;
};

/// The classes of Python exceptions that a refused call raises.
enum class RefusalKind : uint8_t { kTypeError, kValueError, kRuntimeError };

/// A call that is not computed. The message names the argument, what it holds and what is allowed.
class Refusal : public std::exception {
 public:
  Refusal(RefusalKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  RefusalKind kind() const { return kind_; }
  const char *what() const noexcept override { return message_.c_str(); }

 private:
  RefusalKind kind_;
  std::string message_;
};

/// Int8 with quant_scale2, else the type of query.
OperandType OutputType(const OperatorCall &call);

/// Refuses what the operator does not define.
/// @return everything but the pointers.
/// @throws Refusal
DecodeAttentionArgs PlanCall(const OperatorCall &call);

/// The lengths of all sequences, from `actual_seq_lengths`: one for all, or one for each.
/// @param data elements of `operand`, which PlanCall has accepted.
/// @throws Refusal if a length is negative or greater than `args.kv_length`.
std::vector<int64_t> ReadLengths(const Operand &operand, const void *data, const DecodeAttentionArgs &args);

/// Whether the cache is padded on the left: with `kv_padding_size`, but not without lengths nor with a block
/// table, where the operator ignores it.
bool IsLeftPadded(const OperatorCall &call);

/// Where the positions of each sequence start in a left-padded cache; negative where they do not fit, which
/// makes a row of zeros.
/// @param data the one element of `kv_padding_size`, which PlanCall has accepted.
std::vector<int64_t> ReadStarts(const void *data, const std::vector<int64_t> &lengths,
                                const DecodeAttentionArgs &args);

/// Number of elements of a shape; INT64_MAX if there are more.
int64_t ElementCount(const std::vector<int64_t> &shape);

}  // namespace ifa::cpu
