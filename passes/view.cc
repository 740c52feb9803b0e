#include "passes/view.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace ifa::passes {
namespace {

/// Takes factors with a product of exactly `size` from the front, cutting the last one when needed.
std::optional<Axis> TakeFront(std::deque<Factor> *factors, int64_t size) {
  Axis taken;
  int64_t missing = size;
  while (missing > 1) {
    if (factors->empty() || factors->front().size <= 0) return std::nullopt;
    const Factor factor = factors->front();
    factors->pop_front();
    if (missing % factor.size == 0) {
      taken.push_back(factor);
      missing /= factor.size;
    } else if (factor.size % missing == 0) {
      const int64_t inner = factor.size / missing;
      taken.push_back({factor.source_axis, factor.stride * inner, missing});
      factors->push_front({factor.source_axis, factor.stride, inner});
      missing = 1;
    } else {
      return std::nullopt;
    }
  }
  return taken;
}

/// The mirror image of TakeFront.
std::optional<Axis> TakeBack(std::deque<Factor> *factors, int64_t size) {
  Axis taken;
  int64_t missing = size;
  while (missing > 1) {
    if (factors->empty() || factors->back().size <= 0) return std::nullopt;
    const Factor factor = factors->back();
    factors->pop_back();
    if (missing % factor.size == 0) {
      taken.insert(taken.begin(), factor);
      missing /= factor.size;
    } else if (factor.size % missing == 0) {
      taken.insert(taken.begin(), {factor.source_axis, factor.stride, missing});
      factors->push_back({factor.source_axis, factor.stride * missing, factor.size / missing});
      missing = 1;
    } else {
      return std::nullopt;
    }
  }
  return taken;
}

std::optional<size_t> AxisIndex(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) return std::nullopt;
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

}  // namespace

View::View(const Shape &source_shape) {
  for (size_t i = 0; i < source_shape.size(); ++i) {
    axes_.push_back(source_shape[i] == 1 ? Axis{} : Axis{{static_cast<int>(i), 1, source_shape[i]}});
  }
}

bool View::Reshape(const Shape &shape) {
  auto axes = Split(Concatenated(axes_), shape);
  if (!axes) return false;
  axes_ = std::move(*axes);
  return true;
}

bool View::Transpose(const Shape &permutation) {
  if (permutation.size() != axes_.size()) return false;
  std::vector<Axis> result;
  for (const int64_t from : permutation) {
    const auto index = AxisIndex(from, rank());
    if (!index) return false;
    result.push_back(axes_[*index]);
  }
  axes_ = std::move(result);
  return true;
}

bool View::ExpandDims(int64_t axis) {
  const auto index = AxisIndex(axis, rank() + 1);
  if (!index) return false;
  axes_.insert(axes_.begin() + static_cast<std::ptrdiff_t>(*index), Axis{});
  return true;
}

bool View::BroadcastTo(const Shape &shape) {
  if (shape.size() < axes_.size()) return false;
  axes_.insert(axes_.begin(), shape.size() - axes_.size(), Axis{});
  for (size_t i = 0; i < shape.size(); ++i) {
    if (axes_[i].empty() && shape[i] != 1) {
      axes_[i].push_back({Factor::kRepeat, 0, shape[i]});
    } else if (shape[i] != kDynamic && Size(axes_[i]) != kDynamic && Size(axes_[i]) != shape[i]) {
      return false;
    }
  }
  return true;
}

bool View::Tile(const Shape &multiples) {
  if (multiples.size() < axes_.size()) return false;
  axes_.insert(axes_.begin(), multiples.size() - axes_.size(), Axis{});
  for (size_t i = 0; i < multiples.size(); ++i) {
    if (multiples[i] == kDynamic) return false;
    if (multiples[i] != 1) axes_[i].insert(axes_[i].begin(), {Factor::kRepeat, 0, multiples[i]});
  }
  return true;
}

bool View::RepeatInterleave(int64_t repeats, int64_t axis) {
  const auto index = AxisIndex(axis, rank());
  if (!index || repeats == kDynamic) return false;
  if (repeats != 1) axes_[*index].push_back({Factor::kRepeat, 0, repeats});
  return true;
}

View View::WithoutLastAxis() const {
  View rest = *this;
  rest.axes_.pop_back();
  return rest;
}

int64_t Size(const Axis &axis) {
  int64_t product = 1;
  for (const Factor &factor : axis) {
    if (factor.size == kDynamic) return kDynamic;
    product *= factor.size;
  }
  return product;
}

int64_t Size(const Shape &shape) {
  int64_t product = 1;
  for (const int64_t size : shape) {
    if (size == kDynamic) return kDynamic;
    product *= size;
  }
  return product;
}

Axis Normalised(const Axis &axis) {
  Axis result;
  for (const Factor &factor : axis) {
    if (factor.size == 1) continue;
    if (!result.empty()) {
      Factor &outer = result.back();
      const bool known = outer.size != kDynamic && factor.size != kDynamic;
      const bool repeats = outer.repeats() && factor.repeats();
      const bool walks_on =
          outer.source_axis == factor.source_axis && outer.stride == factor.stride * factor.size;
      if (known && (repeats || (!factor.repeats() && walks_on))) {
        outer = {factor.source_axis, factor.stride, outer.size * factor.size};
        continue;
      }
    }
    result.push_back(factor);
  }
  return result;
}

Axis Concatenated(const std::vector<Axis> &axes) {
  Axis flat;
  for (const Axis &axis : axes) flat.insert(flat.end(), axis.begin(), axis.end());
  return Normalised(flat);
}

std::optional<std::vector<Axis>> Split(const Axis &axis, const Shape &sizes) {
  std::deque<Factor> factors(axis.begin(), axis.end());
  const auto unknown = std::find(sizes.begin(), sizes.end(), kDynamic);
  if (unknown != sizes.end() && std::find(unknown + 1, sizes.end(), kDynamic) != sizes.end())
    return std::nullopt;

  std::vector<Axis> front;
  for (auto size = sizes.begin(); size != unknown; ++size) {
    auto part = TakeFront(&factors, *size);
    if (!part) return std::nullopt;
    front.push_back(std::move(*part));
  }
  std::vector<Axis> back;
  if (unknown != sizes.end()) {
    for (auto size = sizes.end() - 1; size != unknown; --size) {
      auto part = TakeBack(&factors, *size);
      if (!part) return std::nullopt;
      back.insert(back.begin(), std::move(*part));
    }
    front.emplace_back(factors.begin(), factors.end());  // whatever the known sizes leave
    factors.clear();
  }
  if (!factors.empty()) return std::nullopt;
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

bool AllRepeat(const Axis &axis) {
  return std::all_of(axis.begin(), axis.end(), [](const Factor &factor) { return factor.repeats(); });
}

bool NoneRepeats(const Axis &axis) {
  return std::none_of(axis.begin(), axis.end(), [](const Factor &factor) { return factor.repeats(); });
}

bool IsSourceInOrder(const Axis &factors, const Shape &source_shape) {
  const Axis source = Concatenated(View(source_shape).axes());
  return Normalised(factors) == source;
}

std::string ToString(const Axis &axis) {
  std::string text = "(";
  for (const Factor &factor : axis) {
    if (text.size() > 1) text += ", ";
    text += factor.repeats() ? "repeat:" : "a" + std::to_string(factor.source_axis) + ":";
    text += factor.size == kDynamic ? "?" : std::to_string(factor.size);
  }
  return text + ")";
}

}  // namespace ifa::passes
