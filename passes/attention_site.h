// What the matcher finds out about one attention, and all that lowering needs to know of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "passes/ir.h"
#include "passes/view.h"

namespace ifa::passes {

/// Why a site is not rewritten. `reason` is stable and meant for programs, `message` for people.
struct Refusal {
  std::string reason;
  std::string message;
  mindspore::AnfNodePtr node = nullptr;  ///< that is the cause, where it is one
};

/// A tensor with just two values, chosen by a condition. `views` are the reshapes that come after it, in the
/// order in which they are applied; `shape` is the tensor's shape before them.
struct TwoValued {
  mindspore::AnfNodePtr condition;
  double if_true = 0;
  double if_false = 0;
  Shape shape;
  std::vector<mindspore::CNodePtr> views;
};

/// Added to the scaled scores, `factor` times.
struct Bias {
  mindspore::AnfNodePtr tensor;
  double factor = 1;
  Shape score_shape;  ///< of the scores at the place where the bias is added
};

/// Shows each sequence its positions below a number, or up to it.
struct Prefix {
  mindspore::AnfNodePtr numbers;  ///< int32 or int64, one for all sequences or one a sequence
  bool inclusive = false;         ///< whether a number is the last position that is shown
  int64_t count = 1;              ///< of the numbers
};

/// Hides the positions where the selector's condition is `hidden_when`.
struct Mask {
  TwoValued selector;
  bool hidden_when = true;
  Shape score_shape;             ///< of the scores at the place where the mask applies
  std::optional<Bias> additive;  ///< the same as a bias, of a mask that is added
  std::optional<Prefix> prefix;  ///< the same as lengths, of a mask that provably comes from them
};

/// Multiplies or shifts a key or value on its way from an int8 cache to the matmul, or the output on its way
/// to int8.
struct AffineTerm {
  enum class Kind { kFactor, kDivisor, kSummand, kSubtrahend };
  Kind kind;
  mindspore::AnfNodePtr parameter;           ///< a tensor that broadcasts, or a number
  Shape shape;                               ///< of the result
  std::vector<mindspore::AnfNodePtr> views;  ///< between this place and the matmul, from the matmul upwards
  double scale = 1;                          ///< of the numbers between this place and the matmul

  bool shifts() const { return kind == Kind::kSummand || kind == Kind::kSubtrahend; }
};

/// (int8 cache + offsets) * scales, with the terms from the matmul upwards.
struct Dequantisation {
  double scale = 1;
  std::vector<AffineTerm> terms;
};

/// round(output * scales + offsets), saturated, with the terms from the value matmul downwards.
struct OutputQuantisation {
  mindspore::CNodePtr cast;  ///< to int8
  std::vector<AffineTerm> terms;
};

/// A tensor that can stand for an operand: the operand is `scale` times the tensor seen through `view`, and
/// through `terms`, which only an int8 cache has.
struct Source {
  mindspore::AnfNodePtr node;
  View view;
  double scale = 1;
  mindspore::TypeId type = mindspore::kTypeUnknown;  ///< the widest in which it is dequantised, or its own
  std::vector<AffineTerm> terms;
};

enum class KvLayout { kBnsd, kBsh };

/// The blocks in which a cache lies, and where the numbers of a sequence's blocks are.
struct Paging {
  mindspore::AnfNodePtr table;  ///< B * blocks of a sequence
  int64_t block_count = 0;
  int64_t block_size = 0;  ///< positions

  bool operator==(const Paging &other) const {
    return table == other.table && block_count == other.block_count && block_size == other.block_size;
  }
};

/// softmax(scale * Q K^T + biases, masked) V, with the operands as they will be given to the operator. Those
/// of a refused site, and its matmuls, are null where they were not found.
struct AttentionSite {
  mindspore::CNodePtr softmax;                       ///< or the exponentials of one that is spelled out
  std::vector<mindspore::AnfNodePtr> softmax_nodes;  ///< all that the softmax consists of
  mindspore::CNodePtr score_matmul;
  mindspore::CNodePtr value_matmul;
  mindspore::CNodePtr division;  ///< of the value matmul's result by the sums of exponentials, or null
  std::optional<OutputQuantisation> output;

  bool strict = false;  ///< rows in which every position is masked must keep their value
  double scale = 1;     ///< of everything between the operands and the softmax
  std::vector<Mask> masks;
  std::vector<Bias> biases;

  mindspore::AnfNodePtr query;
  mindspore::AnfNodePtr key;
  mindspore::AnfNodePtr value;
  bool key_transposed = false;          ///< whether its channels lie before its positions
  bool value_transposed = false;        ///< the same
  Dequantisation key_dequantisation;    ///< of an int8 cache
  Dequantisation value_dequantisation;  ///< the same
  std::vector<mindspore::AnfNodePtr>
      passed;  ///< casts, scalars and views between the operands and the matmuls
  mindspore::TypeId type = mindspore::kTypeUnknown;  ///< in which the operator runs
  KvLayout layout = KvLayout::kBnsd;
  std::optional<Paging> paging;
  int64_t batch = 0;
  int64_t kv_heads = 0;
  int64_t group = 0;  ///< query heads per KV head
  int64_t kv_length = 0;
  int64_t head_size = 0;

  int64_t query_heads() const { return kv_heads * group; }
  bool quantised() const { return IsInt8(key); }
  /// softmax(...) V, before it is brought to int8.
  const mindspore::CNodePtr &product() const { return division ? division : value_matmul; }
  /// The node that the rewrite replaces.
  mindspore::CNodePtr result() const { return output ? output->cast : product(); }
};

/// Tensors that were already built in a graph for the operator's use, by the node that they come from and
/// what was made of it: the layers of a model share them.
using SharedTensors =
    std::map<std::tuple<mindspore::FuncGraphPtr, mindspore::AnfNodePtr, std::string>, mindspore::AnfNodePtr>;

}  // namespace ifa::passes
