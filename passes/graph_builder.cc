#include "passes/graph_builder.h"

#include <memory>

#include "mindspore/core/include/abstract/abstract_value.h"
#include "mindspore/core/include/ir/scalar.h"
#include "mindspore/core/include/ir/tensor_new.h"
#include "mindspore/core/include/ir/value.h"

namespace ifa::passes {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;
using mindspore::MakeValue;
using mindspore::TypeId;
using mindspore::ValuePtr;
namespace abstract = mindspore::abstract;

namespace {

abstract::AbstractBasePtr TensorAbstract(TypeId type, const Shape &shape) {
  return std::make_shared<abstract::AbstractTensor>(mindspore::TypeIdToType(type), shape);
}

}  // namespace

AnfNodePtr GraphBuilder::Constant(const ValuePtr &value) const {
  auto node = mindspore::NewValueNode(value);
  node->set_abstract(value->ToAbstract());
  return node;
}

AnfNodePtr GraphBuilder::Integer(int64_t value) const { return Constant(MakeValue<int64_t>(value)); }
AnfNodePtr GraphBuilder::Number(float value) const { return Constant(MakeValue<float>(value)); }
AnfNodePtr GraphBuilder::None() const { return Constant(mindspore::kNone); }

AnfNodePtr GraphBuilder::Integers(const Shape &values) const {
  std::vector<ValuePtr> elements;
  for (const int64_t value : values) elements.push_back(MakeValue<int64_t>(value));
  return Constant(std::make_shared<mindspore::ValueTuple>(elements));
}

AnfNodePtr GraphBuilder::Filled(const std::vector<double> &numbers, TypeId type, const Shape &shape) const {
  const size_t part = static_cast<size_t>(Size(shape)) / numbers.size();
  std::vector<double> elements;
  for (const double number : numbers) elements.insert(elements.end(), part, number);
  return Constant(
      mindspore::tensor::from_buffer(type, shape, elements.data(), mindspore::kNumberTypeFloat64));
}

CNodePtr GraphBuilder::NewNode(const std::vector<AnfNodePtr> &inputs) const {
  auto node = origin_->func_graph()->NewCNode(inputs);
  node->set_scope(origin_->scope());
  node->set_debug_info(origin_->debug_info());
  return node;
}

AnfNodePtr GraphBuilder::Call(const std::string &primitive, const std::vector<AnfNodePtr> &operands,
                              TypeId type, const Shape &shape) const {
  std::vector<AnfNodePtr> inputs{mindspore::NewValueNode(std::make_shared<mindspore::Primitive>(primitive))};
  inputs.insert(inputs.end(), operands.begin(), operands.end());
  auto node = NewNode(inputs);
  node->set_abstract(TensorAbstract(type, shape));
  return node;
}

AnfNodePtr GraphBuilder::TupleOf(const std::vector<AnfNodePtr> &elements) const {
  std::vector<AnfNodePtr> inputs{
      mindspore::NewValueNode(std::make_shared<mindspore::Primitive>("MakeTuple"))};
  abstract::AbstractBasePtrList abstracts;
  for (const AnfNodePtr &element : elements) {
    inputs.push_back(element);
    abstracts.push_back(element->abstract());
  }
  auto node = NewNode(inputs);
  node->set_abstract(std::make_shared<abstract::AbstractTuple>(abstracts));
  return node;
}

AnfNodePtr GraphBuilder::Widened(const AnfNodePtr &tensor) const {
  const bool widens = target_ == Target::kCpu && TypeOf(tensor) == mindspore::kNumberTypeBFloat16;
  return widens ? Cast(tensor, mindspore::kNumberTypeFloat32) : tensor;
}

AnfNodePtr GraphBuilder::Reshape(const AnfNodePtr &tensor, const Shape &shape) const {
  if (ShapeOf(tensor) == shape) return tensor;
  const AnfNodePtr wide = Widened(tensor);
  return Cast(Call("Reshape", {wide, Integers(shape)}, TypeOf(wide), shape), TypeOf(tensor));
}

AnfNodePtr GraphBuilder::Transpose(const AnfNodePtr &tensor, const Shape &permutation) const {
  const AnfNodePtr wide = Widened(tensor);
  const Shape from = *ShapeOf(tensor);
  Shape shape;
  for (const int64_t axis : permutation) shape.push_back(from[static_cast<size_t>(axis)]);
  return Cast(Call("Transpose", {wide, Integers(permutation)}, TypeOf(wide), shape), TypeOf(tensor));
}

AnfNodePtr GraphBuilder::BroadcastTo(const AnfNodePtr &tensor, const Shape &shape) const {
  if (ShapeOf(tensor) == shape) return tensor;
  const AnfNodePtr wide = Widened(tensor);
  return Cast(Call("BroadcastTo", {wide, Integers(shape)}, TypeOf(wide), shape), TypeOf(tensor));
}

AnfNodePtr GraphBuilder::RepeatedForEach(const AnfNodePtr &rows, const AnfNodePtr &tensor) const {
  const auto only_the_run_knows =
      std::make_shared<abstract::AbstractScalar>(mindspore::kValueAny, mindspore::kInt64);
  abstract::AbstractBasePtrList sizes;
  for (const int64_t size : *ShapeOf(rows)) {
    sizes.push_back(size == kDynamic ? only_the_run_knows : MakeValue<int64_t>(size)->ToAbstract());
  }
  const auto primitive = [](const char *name) {
    return mindspore::NewValueNode(std::make_shared<mindspore::Primitive>(name));
  };
  const auto shape = NewNode({primitive("Shape"), rows});
  shape->set_abstract(std::make_shared<abstract::AbstractTuple>(sizes));
  const auto count = NewNode({primitive("TupleGetItem"), shape, Integer(0)});
  count->set_abstract(only_the_run_knows);
  Shape repeated = *ShapeOf(tensor);
  std::vector<AnfNodePtr> target{count};
  for (size_t axis = 1; axis < repeated.size(); ++axis) target.push_back(Integer(repeated[axis]));
  repeated[0] = kDynamic;
  return Call("BroadcastTo", {tensor, TupleOf(target)}, TypeOf(tensor), repeated);
}

AnfNodePtr GraphBuilder::Cast(const AnfNodePtr &tensor, TypeId type) const {
  if (TypeOf(tensor) == type) return tensor;
  return Call("Cast", {tensor, Integer(type)}, type, *ShapeOf(tensor));
}

AnfNodePtr GraphBuilder::CastFinite(const AnfNodePtr &tensor, TypeId type) const {
  const TypeId from = TypeOf(tensor);
  const bool narrows = from == mindspore::kNumberTypeFloat32 && type != from;
  if (!narrows) return Cast(tensor, type);
  const auto lowest = static_cast<float>(LowestOf(type));
  const auto bound = Constant(mindspore::tensor::from_scalar(lowest, mindspore::kFloat32));
  return Cast(Call("Maximum", {tensor, bound}, from, *ShapeOf(tensor)), type);
}

AnfNodePtr GraphBuilder::Scale(const AnfNodePtr &tensor, double factor) const {
  if (factor == 1) return tensor;
  return Call("Muls", {tensor, Number(static_cast<float>(factor))}, TypeOf(tensor), *ShapeOf(tensor));
}

}  // namespace ifa::passes
