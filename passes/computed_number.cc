#include "passes/computed_number.h"

#include <cmath>
#include <map>
#include <string>

#include "passes/ir.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using Unary = double (*)(double);
using Binary = double (*)(double, double);

const std::map<std::string, Unary> &Unaries() {
  static const std::map<std::string, Unary> kUnaries = {
      {"Sqrt", [](double x) { return std::sqrt(x); }},
      {"Rsqrt", [](double x) { return 1 / std::sqrt(x); }},
      {"Reciprocal", [](double x) { return 1 / x; }},
  };
  return kUnaries;
}

const std::map<std::string, Binary> &Binaries() {
  static const Binary kTimes = [](double x, double y) { return x * y; };
  static const Binary kOver = [](double x, double y) { return x / y; };
  static const Binary kPower = [](double x, double y) { return std::pow(x, y); };
  static const std::map<std::string, Binary> kBinaries = {
      {"Mul", kTimes},
      {"Muls", kTimes},
      {"Div", kOver},
      {"RealDiv", kOver},
      {"Divs", kOver},
      {"Pow", kPower},
      {"PowTensorScalar", kPower},
      {"PowScalarTensor", kPower},
  };
  return kBinaries;
}

/// One size, sliced out of a tensor's shape.
std::optional<double> SizeIn(const AnfNodePtr &slice) {
  const AnfNodePtr shape = Operand(slice, 0);
  if (!IsOp(slice, "StridedSlice") || !IsOp(shape, "TensorShape")) return std::nullopt;
  const auto sizes = ShapeOf(Operand(shape, 0));
  const auto begin = IntegersOf(Operand(slice, 1));
  const auto left_out = IntegersOf(Operand(slice, 4));  // a bit for each begin
  if (!sizes || !begin || begin->size() != 1 || !left_out || left_out->front() % 2 != 0) return std::nullopt;
  const auto rank = static_cast<int64_t>(sizes->size());
  const int64_t index = begin->front() < 0 ? begin->front() + rank : begin->front();
  if (index < 0 || index >= rank || (*sizes)[static_cast<size_t>(index)] == kDynamic) return std::nullopt;
  return static_cast<double>((*sizes)[static_cast<size_t>(index)]);
}

}  // namespace

std::optional<double> ComputedNumber(const AnfNodePtr &node) {
  const auto shape = ShapeOf(node);
  // Larger tensors are not worth the way: what they are computed from may be the whole network.
  if (OpName(node).empty() || !shape || Size(*shape) != 1) return std::nullopt;
  const auto first = NumberOf(Operand(node, 0));
  if (!first) return SizeIn(node);
  if (const auto unary = Unaries().find(OpName(node)); unary != Unaries().end()) return unary->second(*first);
  const auto second = NumberOf(Operand(node, 1));
  const auto binary = Binaries().find(OpName(node));
  return second && binary != Binaries().end() ? std::optional<double>(binary->second(*first, *second))
                                              : std::nullopt;
}

}  // namespace ifa::passes
