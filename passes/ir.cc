#include "passes/ir.h"

#include <algorithm>
#include <regex>

#include "mindspore/core/include/abstract/abstract_value.h"
#include "mindspore/core/include/ir/scalar.h"
#include "mindspore/core/include/ir/tensor.h"
#include "mindspore/core/include/utils/trace_base.h"

namespace ifa::passes {

using mindspore::AnfNodePtr;
using mindspore::CNode;
using mindspore::CNodePtr;
using mindspore::TypeId;
using mindspore::ValuePtr;

namespace {

ValuePtr ConstantOf(const AnfNodePtr &node) {
  return node != nullptr && node->isa<mindspore::ValueNode>() ? mindspore::GetValueNode(node) : nullptr;
}

template <typename T>
std::optional<double> UniformElement(const mindspore::tensor::TensorPtr &tensor) {
  const auto *data = static_cast<const T *>(tensor->data_c());
  const size_t count = tensor->DataSize();
  if (data == nullptr || count == 0) return std::nullopt;
  const auto first = static_cast<double>(static_cast<float>(data[0]));
  const bool uniform = std::all_of(data, data + count, [&](const T &element) { return element == data[0]; });
  return uniform ? std::optional<double>(first) : std::nullopt;
}

std::optional<double> UniformElement(const mindspore::tensor::TensorPtr &tensor) {
  switch (tensor->data_type()) {
    case mindspore::kNumberTypeFloat16:
      return UniformElement<mindspore::Float16>(tensor);
    case mindspore::kNumberTypeBFloat16:
      return UniformElement<mindspore::BFloat16>(tensor);
    case mindspore::kNumberTypeFloat32:
      return UniformElement<float>(tensor);
    case mindspore::kNumberTypeFloat64:
      return UniformElement<double>(tensor);
    case mindspore::kNumberTypeInt32:
      return UniformElement<int32_t>(tensor);
    case mindspore::kNumberTypeInt64:
      return UniformElement<int64_t>(tensor);
    default:
      return std::nullopt;
  }
}

std::optional<double> NumberIn(const ValuePtr &value) {
  if (value == nullptr) return std::nullopt;
  if (value->isa<mindspore::tensor::Tensor>())
    return UniformElement(value->cast<mindspore::tensor::TensorPtr>());
  if (value->isa<mindspore::FP32Imm>()) return mindspore::GetValue<float>(value);
  if (value->isa<mindspore::FP64Imm>()) return mindspore::GetValue<double>(value);
  if (value->isa<mindspore::Int32Imm>()) return mindspore::GetValue<int32_t>(value);
  if (value->isa<mindspore::Int64Imm>()) return static_cast<double>(mindspore::GetValue<int64_t>(value));
  return std::nullopt;
}

}  // namespace

std::string OpName(const AnfNodePtr &node) {
  const auto primitive = node != nullptr && node->isa<CNode>() ? mindspore::GetCNodePrimitive(node) : nullptr;
  return primitive == nullptr ? std::string() : primitive->name();
}

bool IsOp(const AnfNodePtr &node, const char *name) { return OpName(node) == name; }

AnfNodePtr Operand(const AnfNodePtr &node, size_t index) {
  return index < OperandCount(node) ? node->cast<CNodePtr>()->input(index + 1) : nullptr;
}

size_t OperandCount(const AnfNodePtr &node) {
  return node != nullptr && node->isa<CNode>() ? node->cast<CNodePtr>()->size() - 1 : 0;
}

std::optional<Shape> ShapeOf(const AnfNodePtr &node) {
  const auto abstract = node == nullptr ? nullptr : node->abstract();
  if (abstract == nullptr || !abstract->isa<mindspore::abstract::AbstractTensor>()) return std::nullopt;
  Shape shape = abstract->GetShape()->GetShapeVector();
  const bool rank_known =
      std::none_of(shape.begin(), shape.end(), [](int64_t size) { return size < kDynamic; });
  return rank_known ? std::optional<Shape>(shape) : std::nullopt;
}

TypeId TypeOf(const AnfNodePtr &node) {
  const auto abstract = node == nullptr ? nullptr : node->abstract();
  if (abstract == nullptr || !abstract->isa<mindspore::abstract::AbstractTensor>())
    return mindspore::kTypeUnknown;
  return abstract->cast<mindspore::abstract::AbstractTensorPtr>()->element()->BuildType()->type_id();
}

bool IsFloat(TypeId type) {
  return type == mindspore::kNumberTypeFloat16 || type == mindspore::kNumberTypeBFloat16 ||
         type == mindspore::kNumberTypeFloat32;
}

std::optional<double> NumberOf(const AnfNodePtr &node) {
  if (IsOp(node, "Cast") || IsOp(node, "ScalarToTensor")) return NumberOf(Operand(node, 0));
  return NumberIn(ConstantOf(node));
}

std::optional<bool> FlagOf(const AnfNodePtr &node) {
  const ValuePtr value = ConstantOf(node);
  return value != nullptr && value->isa<mindspore::BoolImm>()
             ? std::optional<bool>(mindspore::GetValue<bool>(value))
             : std::nullopt;
}

std::optional<Shape> IntegersOf(const AnfNodePtr &node) {
  const ValuePtr value = ConstantOf(node);
  if (value == nullptr) return std::nullopt;
  if (value->isa<mindspore::Int64Imm>()) return Shape{mindspore::GetValue<int64_t>(value)};
  if (!value->isa<mindspore::ValueSequence>()) return std::nullopt;
  Shape integers;
  for (const ValuePtr &element : value->cast<mindspore::ValueSequencePtr>()->value()) {
    if (!element->isa<mindspore::Int64Imm>()) return std::nullopt;
    integers.push_back(mindspore::GetValue<int64_t>(element));
  }
  return integers;
}

AnfNodePtr MonadOf(const AnfNodePtr &node) {
  const AnfNodePtr last = OperandCount(node) == 0 ? nullptr : Operand(node, OperandCount(node) - 1);
  return last != nullptr && mindspore::HasAbstractMonad(last) ? last : nullptr;
}

std::vector<CNodePtr> UsersOf(const AnfNodePtr &node) {
  std::vector<CNodePtr> users;
  const auto manager = node->func_graph() == nullptr ? nullptr : node->func_graph()->manager();
  if (manager == nullptr) return users;
  const auto found = manager->node_users().find(node);
  if (found == manager->node_users().end()) return users;
  for (const auto &[user, index] : found->second) {
    (void)index;
    if (user->isa<CNode>() && !IsOp(user, "UpdateState")) users.push_back(user->cast<CNodePtr>());
  }
  return users;
}

std::string SourceLine(const AnfNodePtr &node) {
  // Frames read "In file /path/net.py:12, 8~30" and run from the innermost call to the outermost.
  static const std::regex kFrame(R"(In file (.+?):(\d+))");
  static const std::regex kLibrary(R"(/(site|dist)-packages/mindspore/)");
  for (const std::string &frame : mindspore::trace::GetSourceLineList(node)) {
    std::smatch match;
    if (!std::regex_search(frame, match, kFrame)) continue;
    const std::string file = match[1].str();
    if (!std::regex_search(file, kLibrary)) return file + ":" + match[2].str();
  }
  return "";
}

}  // namespace ifa::passes
