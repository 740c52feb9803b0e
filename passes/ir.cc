#include "passes/ir.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "mindspore/core/include/abstract/abstract_value.h"
#include "mindspore/core/include/ir/scalar.h"
#include "mindspore/core/include/ir/tensor.h"
#include "mindspore/core/include/utils/trace_base.h"
#include "passes/computed_number.h"

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

template <typename T>
bool CountsFromZero(const mindspore::tensor::TensorPtr &tensor) {
  const auto *data = static_cast<const T *>(tensor->data_c());
  const size_t count = tensor->DataSize();
  size_t i = 0;
  while (data != nullptr && i < count && data[i] == static_cast<T>(i)) ++i;
  return i == count;
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

/// Where a node was written in the user's code.
struct Place {
  std::string file;  ///< "" when MindSpore does not know it
  int line = 0;
  int from = 0;  ///< the lines of the function around it
  int to = 0;
  bool direct = false;  ///< whether that code called the operator itself, not through a library function
};

Place PlaceOf(const AnfNodePtr &node) {
  // Frames run from the innermost call to the outermost, each as a line and its function:
  // "In file /path/net.py:12, 8~30/ ..." and "In file /path/net.py:9~14, 4~57/ ...".
  static const std::regex kFrame(R"(In file (.+?):(\d+)(~(\d+))?,?)");
  static const std::regex kLibrary(R"(/(site|dist)-packages/mindspore/)");
  Place place;
  size_t index = 0;
  for (const std::string &frame : mindspore::trace::GetSourceLineList(node)) {
    std::smatch match;
    if (!std::regex_search(frame, match, kFrame) || std::regex_search(frame, kLibrary)) {
      ++index;
      continue;
    }
    if (place.file.empty()) {
      place.file = match[1].str();
      place.line = std::stoi(match[2].str());
      place.direct = index == 0;
    } else {
      place.from = std::stoi(match[2].str());
      place.to = match[4].matched ? std::stoi(match[4].str()) : place.from;
      return place;
    }
  }
  return place;
}

/// The nearest operator above the node, itself included, that the user's code calls itself.
Place NearestDirectPlace(const AnfNodePtr &node) {
  constexpr size_t kNear = 16;  // nodes
  std::vector<AnfNodePtr> open{node};
  for (size_t i = 0; i < open.size() && i < kNear; ++i) {
    Place place = PlaceOf(open[i]);
    if (place.direct) return place;
    for (size_t j = 0; j < OperandCount(open[i]); ++j) open.push_back(Operand(open[i], j));
  }
  return {};
}

std::string LineText(const Place &place) { return place.file + ":" + std::to_string(place.line); }

std::string FunctionText(const Place &place) {
  return place.file + ":" + std::to_string(place.from) + "~" + std::to_string(place.to);
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

double LowestOf(TypeId type) {
  if (type == mindspore::kNumberTypeFloat16) return -65504;
  const double beyond = std::ldexp(1.0, 128);  // of fp32 and bf16, which have 24 and 8 significant bits
  return std::ldexp(1.0, type == mindspore::kNumberTypeFloat32 ? 128 - 24 : 128 - 8) - beyond;
}

bool IsInt8(const AnfNodePtr &node) { return TypeOf(node) == mindspore::kNumberTypeInt8; }

TypeId Wider(TypeId a, TypeId b) { return a == b ? a : mindspore::kNumberTypeFloat32; }

std::optional<double> NumberOf(const AnfNodePtr &node) {
  if (IsOp(node, "Cast") || IsOp(node, "ScalarToTensor")) return NumberOf(Operand(node, 0));
  if (const auto number = ComputedNumber(node)) return number;
  return NumberIn(ConstantOf(node));
}

bool CountsFromZero(const AnfNodePtr &node) {
  const ValuePtr value = ConstantOf(node);
  if (value == nullptr || !value->isa<mindspore::tensor::Tensor>()) return false;
  const auto tensor = value->cast<mindspore::tensor::TensorPtr>();
  switch (tensor->data_type()) {
    case mindspore::kNumberTypeInt32:
      return CountsFromZero<int32_t>(tensor);
    case mindspore::kNumberTypeInt64:
      return CountsFromZero<int64_t>(tensor);
    case mindspore::kNumberTypeFloat32:
      return CountsFromZero<float>(tensor);
    default:
      return false;
  }
}

bool IsNone(const AnfNodePtr &node) { return mindspore::IsValueNode<mindspore::None>(node); }

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

std::string SourceLines::Of(const AnfNodePtr &node) {
  const Place place = PlaceOf(node);
  if (place.file.empty()) return "";
  const Place near = NearestDirectPlace(node);
  const std::string line = LineText(place);
  const auto [first, is_new] = functions_.try_emplace(line, FunctionText(near));
  const bool around_it =
      first->second == FunctionText(place);  // else the line's function has no operator to compare
  const bool stale = !is_new && around_it && !near.file.empty() && FunctionText(near) != first->second;
  return stale ? LineText(near) : line;
}

}  // namespace ifa::passes
