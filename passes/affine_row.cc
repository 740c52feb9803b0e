#include "passes/affine_row.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using Kind = AffineTerm::Kind;

constexpr auto kWide = mindspore::kNumberTypeFloat32;

}  // namespace

std::optional<Shape> ShapeByHeadAndChannel(const Axis &heads, const Axis &channels, const Shape &shape) {
  const bool whole =
      (AllRepeat(heads) || NoneRepeats(heads)) && (AllRepeat(channels) || NoneRepeats(channels));
  Axis own;  // all that the tensor holds, if it does not vary along anything else
  for (const Axis *axis : {&heads, &channels}) {
    if (NoneRepeats(*axis)) own.insert(own.end(), axis->begin(), axis->end());
  }
  if (!whole || !IsSourceInOrder(own, shape)) return std::nullopt;
  return Shape{1, AllRepeat(heads) ? 1 : Size(heads), 1, AllRepeat(channels) ? 1 : Size(channels)};
}

void AffineRow::Join(Kind kind, double number) {
  if (kind == Kind::kFactor) number_ *= number;
  if (kind == Kind::kDivisor) number_ /= number;
  if (kind == Kind::kSummand) number_ += number;
  if (kind == Kind::kSubtrahend) number_ -= number;
}

void AffineRow::Join(const GraphBuilder &builder, Kind kind, const AnfNodePtr &tensor) {
  const AnfNodePtr row = builder.BroadcastTo(builder.Cast(tensor, kWide), shape_);
  const bool inverse = kind == Kind::kDivisor || kind == Kind::kSubtrahend;
  if (tensor_ == nullptr && !inverse) {
    tensor_ = row;
    return;
  }
  const AnfNodePtr first = tensor_ != nullptr ? tensor_ : builder.Filled({Neutral()}, kWide, shape_);
  const char *primitive = is_offset_ ? (inverse ? "Sub" : "Add") : (inverse ? "Div" : "Mul");
  tensor_ = builder.Call(primitive, {first, row}, kWide, shape_);
}

std::optional<double> AffineRow::number() const {
  return tensor_ == nullptr ? std::optional<double>(number_) : std::nullopt;
}

AnfNodePtr AffineRow::Build(const GraphBuilder &builder) const {
  const AnfNodePtr number = builder.Filled({number_}, kWide, shape_);
  if (tensor_ == nullptr) return number;
  if (number_ == Neutral()) return tensor_;
  return builder.Call(is_offset_ ? "Add" : "Mul", {tensor_, number}, kWide, shape_);
}

}  // namespace ifa::passes
