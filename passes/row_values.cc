#include "passes/row_values.h"

#include <cmath>
#include <map>
#include <string>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;
using Kind = Reduction::Kind;

// Nested operations; logsumexp has seven. What is read twice at each level stays cheap.
constexpr int kDeepest = 12;

/// Whether a view holds the same elements in the same order.
bool KeepsOrder(const AnfNodePtr &view) {
  const auto shape = ShapeOf(Operand(view, 0));
  if (!IsView(view) || !shape) return false;
  View moved(*shape);
  return ApplyView(view, &moved) && IsSourceInOrder(Concatenated(moved.axes()), *shape);
}

/// What a row value is before casts and constant gradients, and before views that only change how rows are
/// counted.
AnfNodePtr Unwrapped(AnfNodePtr node) {
  while (true) {
    const AnfNodePtr loaded = LoadedView(node);
    const AnfNodePtr view = loaded ? loaded : node;
    if (IsFloatCast(node) || IsOp(node, "StopGradient") ||
        ((loaded || MonadOf(node) == nullptr) && KeepsOrder(view))) {
      node = Operand(view, 0);
    } else {
      return node;
    }
  }
}

/// a + sign * b. Of the same scores, if any.
std::optional<RowValue> Combined(const RowValue &a, const RowValue &b, int sign) {
  if (a.scores != nullptr && b.scores != nullptr && a.scores != b.scores) return std::nullopt;
  return RowValue{a.scores != nullptr ? a.scores : b.scores, a.maxima + sign * b.maxima,
                  a.log_sums + sign * b.log_sums, a.constant + sign * b.constant, a.stable && b.stable};
}

/// The operands of a sum or product (sign 1), or of a difference or quotient (-1).
struct Pair {
  AnfNodePtr first;
  AnfNodePtr second;
  int sign;
};

std::optional<Pair> TermsOf(const AnfNodePtr &node) {
  static const std::map<std::string, int> kSigns = {{"Add", 1}, {"AddExt", 1}, {"Sub", -1}, {"SubExt", -1}};
  const auto sign = kSigns.find(OpName(node));
  const bool weighted = OperandCount(node) > 2 && NumberOf(Operand(node, 2)) != 1.0;  // mint's alpha
  if (sign == kSigns.end() || weighted) return std::nullopt;
  return Pair{Operand(node, 0), Operand(node, 1), sign->second};
}

std::optional<Pair> FactorsOf(const AnfNodePtr &node) {
  static const std::map<std::string, int> kSigns = {
      {"Mul", 1}, {"Muls", 1}, {"Div", -1}, {"Divs", -1}, {"RealDiv", -1}};
  const auto sign = kSigns.find(OpName(node));
  if (sign == kSigns.end()) return std::nullopt;
  return Pair{Operand(node, 0), Operand(node, 1), sign->second};
}

/// Whether the node, which is a row value, meets each element of the tensor with the value of its row.
bool IsRowOf(const AnfNodePtr &node, const AnfNodePtr &tensor) {
  auto shape = ShapeOf(tensor);
  if (!shape || shape->empty()) return false;
  shape->back() = 1;
  return NumberOf(node) || ShapeOf(node) == shape;
}

ShiftedScores Shifted(const AnfNodePtr &node, int depth);
std::optional<RowValue> LogOf(const AnfNodePtr &node, int depth);

using Read = std::optional<RowValue> (*)(const AnfNodePtr &node, int depth);

/// What a pair of row values, or of one and a number, amounts to. As each has as many elements as there are
/// rows, the result has more where one broadcasts another, and is no row value to IsRowOf.
std::optional<RowValue> Joined(const std::optional<Pair> &pair, Read read, int depth) {
  const auto first = pair ? read(pair->first, depth) : std::nullopt;
  const auto second = first ? read(pair->second, depth) : std::nullopt;
  return second ? Combined(*first, *second, pair->sign) : std::nullopt;
}

/// A row value as it is; nothing for what is none.
std::optional<RowValue> ValueOf(const AnfNodePtr &node, int depth) {
  const AnfNodePtr value = Unwrapped(node);
  if (const auto number = NumberOf(value)) return RowValue{nullptr, 0, 0, *number};
  if (depth == 0) return std::nullopt;
  if (IsOp(value, "Log")) return LogOf(Operand(value, 0), depth - 1);
  const auto reduction = ReductionOf(value);
  if (!reduction) return Joined(TermsOf(value), ValueOf, depth - 1);
  if (!reduction->of_rows || reduction->kind == Kind::kSum) return std::nullopt;
  const ShiftedScores tensor = Shifted(reduction->tensor, depth - 1);
  if (reduction->kind == Kind::kLogSum) return tensor.LogSum();
  return Combined({tensor.scores, 1}, tensor.shift, -1);
}

/// The logarithm of a row value that is positive; nothing for what is none.
std::optional<RowValue> LogOf(const AnfNodePtr &node, int depth) {
  const AnfNodePtr value = Unwrapped(node);
  if (const auto number = NumberOf(value)) return RowValue{nullptr, 0, 0, std::log(*number)};
  if (depth == 0) return std::nullopt;
  if (IsOp(value, "Reciprocal")) {
    const auto divisor = LogOf(Operand(value, 0), depth - 1);
    return divisor ? Combined({}, *divisor, -1) : std::nullopt;
  }
  const auto reduction = ReductionOf(value);
  if (!reduction) return Joined(FactorsOf(value), LogOf, depth - 1);
  AnfNodePtr exponentials = reduction->tensor;
  while (const AnfNodePtr above = SameRowsAbove(exponentials)) exponentials = above;
  if (!reduction->of_rows || reduction->kind != Kind::kSum || !IsOp(exponentials, "Exp")) return std::nullopt;
  const ShiftedScores exponent = Shifted(Operand(exponentials, 0), depth - 1);
  RowValue sum = exponent.LogSum();
  // Exponents that do not move with the scores: 0 is among them, or nearly.
  const bool fixed = exponent.shift.maxima + exponent.shift.log_sums == 1 && exponent.shift.constant == 0;
  sum.stable = sum.stable && fixed;
  return sum;
}

ShiftedScores Shifted(const AnfNodePtr &node, int depth) {
  const AnfNodePtr tensor = BehindCasts(node);
  if (depth == 0) return {tensor, {}};
  const bool is_log_softmax = IsOp(tensor, "LogSoftmax") || IsOp(tensor, "LogSoftmaxExt");
  if (is_log_softmax && IsLastAxis(Operand(tensor, 1), tensor)) {
    const ShiftedScores input = Shifted(Operand(tensor, 0), depth - 1);
    return {input.scores, ShiftedScores{input.scores, {}}.LogSum()};
  }
  const auto terms = TermsOf(tensor);
  if (!terms || !IsRowOf(terms->second, terms->first) || ShapeOf(tensor) != ShapeOf(terms->first))
    return {tensor, {}};
  const auto value = ValueOf(terms->second, depth - 1);
  if (!value) return {tensor, {}};
  const ShiftedScores input = Shifted(terms->first, depth - 1);
  if (value->scores != nullptr && value->scores != input.scores) return {tensor, {}};
  RowValue shift = *Combined(input.shift, *value, -terms->sign);
  // Of scores of -1e9 a maximum is subtracted without rounding, what is rounded itself is not.
  const bool rounded = value->log_sums != 0 && value->maxima + value->log_sums != 0;
  shift.stable = shift.stable && !rounded;
  return {input.scores, shift};
}

}  // namespace

AnfNodePtr SameRowsAbove(const AnfNodePtr &node) {
  Walk ignored;
  for (const Step step : {TakeCast, TakeRowReshape}) {
    const Outcome outcome = step(node, &ignored);
    if (const auto *taken = std::get_if<AnfNodePtr>(&outcome)) return *taken;
  }
  return nullptr;
}

RowValue ShiftedScores::LogSum() const { return *Combined({scores, 0, 1}, shift, -1); }

ShiftedScores ShiftedScoresOf(const AnfNodePtr &node) { return Shifted(node, kDeepest); }

std::optional<RowValue> LogDivisorOf(const CNodePtr &node, const AnfNodePtr &dividend) {
  const auto factors = FactorsOf(node);
  if (!factors) return std::nullopt;
  const bool is_first = factors->first == dividend;
  if (!is_first && (factors->second != dividend || factors->sign < 0)) return std::nullopt;
  const AnfNodePtr &row = is_first ? factors->second : factors->first;
  const auto value = IsRowOf(row, dividend) ? LogOf(row, kDeepest) : std::nullopt;
  return value ? Combined({}, *value, -factors->sign) : std::nullopt;
}

std::optional<Reduction> ReductionOf(const AnfNodePtr &node) {
  static const std::map<std::string, Kind> kKinds = {
      {"ReduceMax", Kind::kMaximum}, {"ArgMaxWithValue", Kind::kMaximum},
      {"MaxDim", Kind::kMaximum},    {"ReduceSum", Kind::kSum},
      {"SumExt", Kind::kSum},        {"LogSumExp", Kind::kLogSum}};
  // Of maxima and where they are, those are the ones that are no integers.
  const AnfNodePtr reduction = IsOp(node, "TupleGetItem") ? Operand(node, 0) : node;
  const auto kind = kKinds.find(OpName(reduction));
  if (kind == kKinds.end() || !IsFloat(TypeOf(node))) return std::nullopt;
  const AnfNodePtr tensor = Operand(reduction, 0);
  return Reduction{kind->second, tensor, IsLastAxis(Operand(reduction, 1), tensor)};
}

bool IsLastAxis(const AnfNodePtr &axes, const AnfNodePtr &tensor) {
  const auto shape = ShapeOf(tensor);
  const auto axis = IntegersOf(axes);
  if (!shape || !axis || axis->size() != 1) return false;
  return (*axis)[0] == -1 || (*axis)[0] == static_cast<int64_t>(shape->size()) - 1;
}

}  // namespace ifa::passes
