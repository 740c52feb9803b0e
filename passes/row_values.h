// Values that belong to rows of scores, such as their maxima, and scores less such values: what a softmax is
// made of that is spelled out. In real arithmetic, in which casts change nothing.
#pragma once

#include <optional>

#include "passes/ir.h"

namespace ifa::passes {

/// maxima * max(scores) + log_sums * log(sum(exp(scores))) + constant: one number a row, in the order of the
/// rows of the scores.
struct RowValue {
  mindspore::AnfNodePtr scores = nullptr;  ///< null for a number
  int maxima = 0;
  int log_sums = 0;
  double constant = 0;
  bool stable = true;  ///< computed so that it is right also for a row of equal scores that are very large

  bool operator==(const RowValue &other) const {
    return scores == other.scores && maxima == other.maxima && log_sums == other.log_sums &&
           constant == other.constant;
  }
};

/// scores - shift
struct ShiftedScores {
  mindspore::AnfNodePtr scores;
  RowValue shift;  ///< with the same scores

  /// log(sum(exp(scores - shift)))
  RowValue LogSum() const;
};

/// The operand of a cast, or of a reshape that leaves the last axis alone; null for other nodes.
mindspore::AnfNodePtr SameRowsAbove(const mindspore::AnfNodePtr &node);

/// Any tensor, with as much of a shift as can be told from it; the scores have no casts as their last nodes.
ShiftedScores ShiftedScoresOf(const mindspore::AnfNodePtr &node);

/// The logarithm of what a quotient, or a product with a reciprocal, divides the rows of an operand by;
/// nothing for other operations, and other divisors.
std::optional<RowValue> LogDivisorOf(const mindspore::CNodePtr &node, const mindspore::AnfNodePtr &dividend);

/// A reduction of a tensor to its maximum, its sum, or the logarithm of the sum of its exponentials.
struct Reduction {
  enum class Kind { kMaximum, kSum, kLogSum };
  Kind kind;
  mindspore::AnfNodePtr tensor;
  bool of_rows;  ///< over the last axis, and no other
};
std::optional<Reduction> ReductionOf(const mindspore::AnfNodePtr &node);

/// Whether these are the axes, as an operator is given them, of a row of the tensor: the last one alone.
bool IsLastAxis(const mindspore::AnfNodePtr &axes, const mindspore::AnfNodePtr &tensor);

}  // namespace ifa::passes
