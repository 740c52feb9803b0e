// The scale or offset of all heads and channels, put together from the numbers and tensors that a graph
// multiplies with or adds.
#pragma once

#include <optional>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"

namespace ifa::passes {

/// The shape (1, 1|heads, 1, 1|channels) of a tensor that varies by head and by channel, or not at all;
/// nothing when it is laid out in another way.
/// @param heads, channels the tensor's view along these.
/// @param shape the tensor's own.
std::optional<Shape> ShapeByHeadAndChannel(const Axis &heads, const Axis &channels, const Shape &shape);

/// A scale, joined by products, or an offset, joined by sums, in fp32.
class AffineRow {
 public:
  /// @param shape (1, heads, 1, channels).
  AffineRow(bool is_offset, const Shape &shape)
      : is_offset_(is_offset), shape_(shape), number_(is_offset ? 0 : 1) {}

  void Join(AffineTerm::Kind kind, double number);
  /// @param tensor of a shape that broadcasts to the row's.
  void Join(const GraphBuilder &builder, AffineTerm::Kind kind, const mindspore::AnfNodePtr &tensor);

  /// The row where it is the same number everywhere.
  std::optional<double> number() const;
  /// The row, of its shape.
  mindspore::AnfNodePtr Build(const GraphBuilder &builder) const;

 private:
  double Neutral() const { return is_offset_ ? 0 : 1; }

  bool is_offset_;
  Shape shape_;
  double number_;
  mindspore::AnfNodePtr tensor_;  ///< null, or to be joined with the number
};

}  // namespace ifa::passes
