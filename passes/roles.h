// What the axes of a matmul's factors mean to attention.
#pragma once

#include <optional>

#include "passes/steps.h"

namespace ifa::passes {

/// The sizes of one matmul in the terms of attention.
struct MatMulShape {
  Shape batches;     ///< without the matrices' own two axes
  int64_t rows = 0;  ///< query positions, or the heads of a group
};

/// A factor's axes in their roles. `rows` are the (batch, head) pairs, flattened.
struct Roles {
  Axis rows;
  Axis positions;
  Axis channels;
};

/// @return nothing when the right factor would broadcast the left one, so that there are more rows than
/// queries.
std::optional<MatMulShape> ShapeOfMatMul(const MatMul &matmul);

/// The roles in a key or value, or in what was broadcast to one.
/// @param positions_last whether the matrix's last axis are the positions, not the channels.
Roles KvRoles(const View &view, const MatMulShape &matmul, bool positions_last);

}  // namespace ifa::passes
