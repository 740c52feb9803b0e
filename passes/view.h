// Layout algebra: how a tensor that reshapes, transposes and repeats built indexes into the tensor it came
// from. Nothing here knows MindSpore; shapes come in as numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ifa::passes {

using Shape = std::vector<int64_t>;
inline constexpr int64_t kDynamic = -1;  ///< a size that is known only when the graph runs

/// One factor of an axis. Its index moves through `size` values, `stride` apart, of one axis of the source
/// tensor, or, when it has no source axis, repeats what is inside it.
struct Factor {
  static constexpr int kRepeat = -1;
  int source_axis = kRepeat;
  int64_t stride = 0;
  int64_t size = 1;

  bool repeats() const { return source_axis == kRepeat; }
  bool operator==(const Factor &other) const {
    return source_axis == other.source_axis && stride == other.stride && size == other.size;
  }
};

/// The factors of an axis from the outermost to the innermost. None stands for a size of 1.
using Axis = std::vector<Factor>;

/// A composition of reshape, transpose, expand, broadcast, tile and repeat, as a map from the axes of the
/// tensor in hand to the axes of the source tensor. Operations return false, and leave the view unusable,
/// when the result can't be described so (a reshape that cuts a factor unevenly, or one that has to guess
/// between two unknown sizes).
class View {
 public:
  /// The source tensor itself.
  explicit View(const Shape &source_shape);

  bool Reshape(const Shape &shape);
  /// @param permutation axis i of the result is axis permutation[i]; negative values count from the end.
  bool Transpose(const Shape &permutation);
  /// @param axis position of the new axis of size 1 in the result.
  bool ExpandDims(int64_t axis);
  /// NumPy's broadcasting: axes are aligned at the end; an axis of size 1 may grow.
  bool BroadcastTo(const Shape &shape);
  /// Repeats whole axes, as numpy.tile does: the copies are the outer factor.
  bool Tile(const Shape &multiples);
  /// Repeats each index, as numpy.repeat does: the copies are the inner factor.
  bool RepeatInterleave(int64_t repeats, int64_t axis);

  /// The same view of all but the last axis.
  View WithoutLastAxis() const;

  const std::vector<Axis> &axes() const { return axes_; }
  int64_t rank() const { return static_cast<int64_t>(axes_.size()); }

 private:
  std::vector<Axis> axes_;
};

/// Product of the sizes; kDynamic when one of them is.
int64_t Size(const Axis &axis);
int64_t Size(const Shape &shape);

/// The same axis with neighbouring factors merged where they walk the source together, and without sizes
/// of 1.
Axis Normalised(const Axis &axis);

/// The factors of several axes in a row, normalised: the view of the flattened tensor.
Axis Concatenated(const std::vector<Axis> &axes);

/// The axis cut into axes of these sizes, of which one may be unknown; nothing when a factor would have to be
/// cut unevenly.
std::optional<std::vector<Axis>> Split(const Axis &axis, const Shape &sizes);

/// Whether every factor repeats, or none does. Both hold for an axis of size 1.
bool AllRepeat(const Axis &axis);
bool NoneRepeats(const Axis &axis);

/// Whether the factors, in this order, walk the whole source in memory order, so that the result is the
/// source reshaped.
bool IsSourceInOrder(const Axis &factors, const Shape &source_shape);

/// For messages: "(a0:3, repeat:3, a2:64)".
std::string ToString(const Axis &axis);

}  // namespace ifa::passes
