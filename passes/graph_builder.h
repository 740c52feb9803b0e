// Makes nodes with their abstracts, on behalf of a node that they will replace or feed.
#pragma once

#include <string>
#include <vector>

#include "passes/ir.h"
#include "passes/target.h"

namespace ifa::passes {

class GraphBuilder {
 public:
  /// @param origin gives the new nodes their graph, scope and source line.
  GraphBuilder(const mindspore::CNodePtr &origin, Target target) : origin_(origin), target_(target) {}

  mindspore::AnfNodePtr Integer(int64_t value) const;
  mindspore::AnfNodePtr Integers(const Shape &values) const;
  mindspore::AnfNodePtr Number(float value) const;
  mindspore::AnfNodePtr None() const;
  /// A constant tensor of which each number fills an equal part.
  mindspore::AnfNodePtr Filled(const std::vector<double> &numbers, mindspore::TypeId type,
                               const Shape &shape) const;

  /// A call of a primitive whose result is a tensor.
  mindspore::AnfNodePtr Call(const std::string &primitive, const std::vector<mindspore::AnfNodePtr> &operands,
                             mindspore::TypeId type, const Shape &shape) const;
  mindspore::AnfNodePtr TupleOf(const std::vector<mindspore::AnfNodePtr> &elements) const;

  /// On a CPU fp32 for a bf16 tensor: MindSpore has hardly an operator for bf16 there, but can cast it.
  mindspore::AnfNodePtr Widened(const mindspore::AnfNodePtr &tensor) const;

  // The following return the tensor itself where there is nothing to do, and keep its type where they do not
  // change it.
  mindspore::AnfNodePtr Reshape(const mindspore::AnfNodePtr &tensor, const Shape &shape) const;
  /// @param permutation axis i of the result is axis permutation[i], counted from 0.
  mindspore::AnfNodePtr Transpose(const mindspore::AnfNodePtr &tensor, const Shape &permutation) const;
  mindspore::AnfNodePtr BroadcastTo(const mindspore::AnfNodePtr &tensor, const Shape &shape) const;
  /// @param rows whose first axis has a length that only the run knows.
  /// @param tensor whose first axis gets that length; it has it already, or is 1.
  mindspore::AnfNodePtr RepeatedForEach(const mindspore::AnfNodePtr &rows,
                                        const mindspore::AnfNodePtr &tensor) const;
  mindspore::AnfNodePtr Cast(const mindspore::AnfNodePtr &tensor, mindspore::TypeId type) const;
  /// The same, and values below what the type holds become its lowest number, not -inf.
  mindspore::AnfNodePtr CastFinite(const mindspore::AnfNodePtr &tensor, mindspore::TypeId type) const;
  /// tensor * factor
  mindspore::AnfNodePtr Scale(const mindspore::AnfNodePtr &tensor, double factor) const;

 private:
  mindspore::AnfNodePtr Constant(const mindspore::ValuePtr &value) const;
  mindspore::CNodePtr NewNode(const std::vector<mindspore::AnfNodePtr> &inputs) const;

  mindspore::CNodePtr origin_;
  Target target_;
};

}  // namespace ifa::passes
