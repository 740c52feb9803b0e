// The softmax of an attention, as an operator or spelled out: exponentials divided by their sums, before the
// value matmul or behind it, or exponentials of what has their logarithm subtracted.
#pragma once

#include <optional>
#include <vector>

#include "passes/attention_site.h"
#include "passes/row_values.h"

namespace ifa::passes {

struct Softmax {
  mindspore::CNodePtr root;                        ///< the Softmax or Exp
  mindspore::AnfNodePtr scores;                    ///< that it takes
  mindspore::CNodePtr probabilities;               ///< or, while a division is missing, the exponentials
  std::vector<mindspore::AnfNodePtr> nodes = {};   ///< all that it consists of
  std::optional<RowValue> missing = std::nullopt;  ///< log of what the product must still be divided by
  mindspore::CNodePtr division = nullptr;          ///< behind the value matmul, null where there is none
  bool stable = true;  ///< right also for a row of equal scores that are very large
  std::optional<Refusal> refusal = std::nullopt;  ///< of a softmax that is no row's

  bool complete() const { return !missing || division != nullptr; }
  /// The users of a node between the exponentials and the value matmul, without the missing division's sums.
  std::vector<mindspore::CNodePtr> UsersOnTheWay(const mindspore::AnfNodePtr &node) const;
};

/// Whether a softmax may be read from the node.
bool IsSoftmaxRoot(const mindspore::AnfNodePtr &node);

/// @param root for which IsSoftmaxRoot holds.
/// @return nothing for exponentials that are only summed up.
std::optional<Softmax> SoftmaxOf(const mindspore::CNodePtr &root);

/// Looks for the missing division, and takes it into the softmax.
/// @param passed from what takes the exponentials to the value matmul, both included.
void FindDivision(const std::vector<mindspore::AnfNodePtr> &passed, Softmax *softmax);

/// Of exponentials for which no division was found.
/// @param value_matmul null where there is none, for which `no_matmul` is the reason.
/// @return nothing when they do not look like a softmax: none of them is summed or divided by rows.
std::optional<Refusal> WhyIncomplete(const Softmax &softmax, const mindspore::AnfNodePtr &value_matmul,
                                     const Refusal &no_matmul);

/// Of a complete softmax of which something else uses a part: what it takes and what it gives are not
/// counted.
std::optional<Refusal> UsedElsewhere(const Softmax &softmax);

}  // namespace ifa::passes
