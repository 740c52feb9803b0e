// The layout algebra against plain index arithmetic: every operation is also done on an array that holds its
// own indices.

#include "passes/view.h"

#include <cstdio>
#include <numeric>
#include <string>

namespace ifa::passes {
namespace {

int passed = 0;
int failed = 0;

void Check(const std::string &name, bool holds) {
  ++(holds ? passed : failed);
  if (!holds) std::printf("FAILED %s\n", name.c_str());
}

/// Where each element of the view lies in the source, in memory order.
std::vector<int64_t> Offsets(const View &view, const Shape &source) {
  Shape strides(source.size(), 1);
  for (size_t i = source.size(); i-- > 1;) strides[i - 1] = strides[i] * source[i];
  std::vector<int64_t> offsets{0};
  for (const Axis &axis : view.axes()) {
    for (const Factor &factor : axis) {
      std::vector<int64_t> next;
      const int64_t step =
          factor.repeats() ? 0 : factor.stride * strides[static_cast<size_t>(factor.source_axis)];
      for (const int64_t offset : offsets) {
        for (int64_t i = 0; i < factor.size; ++i) next.push_back(offset + i * step);
      }
      offsets = std::move(next);
    }
  }
  return offsets;
}

std::vector<int64_t> Range(int64_t count) {
  std::vector<int64_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

void TestReshape() {
  const Shape source{2, 12, 5};
  View view(source);
  Check("a reshape that cuts an axis is followed", view.Reshape({2, 3, 4, 5}));
  Check("a reshape moves nothing", Offsets(view, source) == Range(120));
  Check("a reshape that merges axes is followed", view.Reshape({24, 5}));
  Check("merging restores memory order", IsSourceInOrder(Concatenated(view.axes()), source));
  Check("a reshape that cuts unevenly is given up", !View({6, 5}).Reshape({4, 7, 1}));
  Check("a reshape to another size is given up", !View({6}).Reshape({5}));
  Check("an axis of size 0 is given up", !View({0, 4}).Reshape({2, 2}));
}

void TestTranspose() {
  const Shape source{2, 3, 4};
  View view(source);
  Check("a transpose is followed", view.Transpose({0, 2, 1}));
  std::vector<int64_t> expected;
  for (int64_t a = 0; a < 2; ++a) {
    for (int64_t c = 0; c < 4; ++c) {
      for (int64_t b = 0; b < 3; ++b) expected.push_back((a * 3 + b) * 4 + c);
    }
  }
  Check("a transpose permutes", Offsets(view, source) == expected);
  Check("a transposed tensor is not in memory order", !IsSourceInOrder(Concatenated(view.axes()), source));
  Check("transposing back restores it", view.Transpose({0, -1, 1}) && Offsets(view, source) == Range(24));
  Check("a permutation of another rank is given up", !view.Transpose({1, 0}));
  Check("an axis out of range is given up", !view.Transpose({0, 1, 3}));
}

void TestRepeats() {
  const Shape source{3, 2};
  View interleaved(source);
  Check("repeat_interleave is followed", interleaved.RepeatInterleave(2, 0));
  Check("repeat_interleave repeats each index",
        Offsets(interleaved, source) == std::vector<int64_t>{0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5});
  View tiled(source);
  Check("tile is followed", tiled.Tile({2, 1}));
  Check("tile repeats the whole axis",
        Offsets(tiled, source) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5});
  Check("the two differ", Normalised(interleaved.axes()[0]) != Normalised(tiled.axes()[0]));

  View expanded(source);
  Check("expand, broadcast and reshape are followed",
        expanded.ExpandDims(1) && expanded.BroadcastTo({3, 2, 2}) && expanded.Reshape({6, 2}));
  Check("they amount to repeat_interleave",
        Normalised(expanded.axes()[0]) == Normalised(interleaved.axes()[0]));
  Check("broadcasting an axis that is not 1 is given up", !View({3, 2}).BroadcastTo({4, 2}));
  Check("broadcasting adds axes in front", [] {
    View view({2});
    return view.BroadcastTo({3, 2}) && view.rank() == 2 && view.axes()[0].front().repeats();
  }());
}

void TestDynamicSizes() {
  const Shape source{1, 3, kDynamic, 64};
  View view(source);
  Check("an unknown size is carried through",
        view.ExpandDims(2) && view.Tile({1, 1, 3, 1, 1}) && view.Reshape({1, 9, kDynamic, 64}));
  Check("the unknown axis is still the positions", view.axes()[2] == Axis({{2, 1, kDynamic}}));
  Check("heads are (head, copy)", view.axes()[1] == Axis({{1, 1, 3}, {Factor::kRepeat, 0, 3}}));
  Check("two unknown sizes are not guessed", !View({kDynamic, 3, kDynamic}).Reshape({kDynamic, kDynamic, 3}));
  Check("an unknown size is not cut", !View({kDynamic, 4}).Reshape({2, kDynamic}));
  Check("an unknown size is unknown", Size(Shape{2, kDynamic}) == kDynamic);
}

void TestOrder() {
  const Shape bsnd{2, 7, 3, 4};
  View view(bsnd);
  Check("BSND to BNSD", view.Transpose({0, 2, 1, 3}));
  const auto &axes = view.axes();
  Check("batch, position, head, channel is memory order",
        IsSourceInOrder(Concatenated({axes[0], axes[2], axes[1], axes[3]}), bsnd));
  Check("batch, head, position, channel is not",
        !IsSourceInOrder(Concatenated({axes[0], axes[1], axes[2], axes[3]}), bsnd));
  Check("a part is not the whole", !IsSourceInOrder(Concatenated({axes[0], axes[2]}), bsnd));
}

}  // namespace
}  // namespace ifa::passes

int main() {
  ifa::passes::TestReshape();
  ifa::passes::TestTranspose();
  ifa::passes::TestRepeats();
  ifa::passes::TestDynamicSizes();
  ifa::passes::TestOrder();
  std::printf("%d passed, %d failed\n", ifa::passes::passed, ifa::passes::failed);
  return ifa::passes::failed == 0 ? 0 : 1;
}
