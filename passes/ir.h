// What the pass asks of MindSpore's graph, in one place: names, shapes, constants, users and source lines of
// nodes. Read-only; nodes are made in lowering.cc.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mindspore/core/include/ir/anf.h"
#include "mindspore/core/include/ir/func_graph.h"
#include "mindspore/core/include/ir/manager.h"
#include "mindspore/core/include/ir/primitive.h"
#include "passes/view.h"

namespace ifa::passes {

/// The primitive's name of a call, "" for anything that is not a call of a primitive.
std::string OpName(const mindspore::AnfNodePtr &node);
bool IsOp(const mindspore::AnfNodePtr &node, const char *name);

/// Operand `index`, counted from 0 behind the primitive; null where there is none.
mindspore::AnfNodePtr Operand(const mindspore::AnfNodePtr &node, size_t index);
size_t OperandCount(const mindspore::AnfNodePtr &node);

/// Sizes of a tensor, kDynamic where they are unknown; nothing for a node that is no tensor or of unknown
/// rank.
std::optional<Shape> ShapeOf(const mindspore::AnfNodePtr &node);
/// The element type of a tensor; kTypeUnknown for a node that is no tensor.
mindspore::TypeId TypeOf(const mindspore::AnfNodePtr &node);
bool IsFloat(mindspore::TypeId type);
/// The lowest finite number of a floating-point type.
double LowestOf(mindspore::TypeId type);
bool IsInt8(const mindspore::AnfNodePtr &node);
/// A type that holds all numbers of both: one of them if they are the same, else fp32.
mindspore::TypeId Wider(mindspore::TypeId a, mindspore::TypeId b);

/// A number known at compile time: a scalar, or a constant tensor in which all elements are that number.
std::optional<double> NumberOf(const mindspore::AnfNodePtr &node);
/// Whether the node is a constant tensor of 0, 1, 2, ... in the order in which it lies in memory, of int32,
/// int64 or fp32.
bool CountsFromZero(const mindspore::AnfNodePtr &node);
/// Whether the node is Python's None.
bool IsNone(const mindspore::AnfNodePtr &node);
/// A bool known at compile time.
std::optional<bool> FlagOf(const mindspore::AnfNodePtr &node);
/// A tuple of integers, or a single one, known at compile time.
std::optional<Shape> IntegersOf(const mindspore::AnfNodePtr &node);

/// The operand that orders a node among side effects; null for a node without one.
mindspore::AnfNodePtr MonadOf(const mindspore::AnfNodePtr &node);

/// The nodes that use this one's value; ordering edges (UpdateState) are left out.
std::vector<mindspore::CNodePtr> UsersOf(const mindspore::AnfNodePtr &node);

/// Where nodes of one graph come from.
///
/// MindSpore keeps one call stack for a library function, that of its first call, however often it is
/// inlined; operators that the user's code calls itself are stamped right. So when a line comes up again with
/// other such operators around it, the line of the nearest of those is given.
class SourceLines {
 public:
  /// "file.py:line" of the user's code, "" when MindSpore does not know it.
  std::string Of(const mindspore::AnfNodePtr &node);

 private:
  std::map<std::string, std::string>
      functions_;  ///< of the operators around the line, where it first came up
};

}  // namespace ifa::passes
