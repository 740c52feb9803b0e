// The inputs and attributes of the operator IfaDecode as CANN numbers them, and the functions that its
// definition names.
#pragma once

#include <cstddef>

#include "register/op_def_registry.h"

namespace ifa::ascendc {

/// In CANN's order of the built-in operator, which is not that of MindSpore's primitive.
enum Input : size_t {
  kQuery,
  kKey,
  kValue,
  kPseShift,
  kAttnMask,
  kActualSeqLengths,
  kDequantScale1,
  kQuantScale1,
  kDequantScale2,
  kQuantScale2,
  kQuantOffset2,
  kAntiquantScale,
  kAntiquantOffset,
  kBlockTable,
  kKvPaddingSize,
};

enum Attribute : size_t {
  kNumHeads,
  kScaleValue,
  kInputLayout,
  kNumKeyValueHeads,
  kBlockSize,
  kInnerPrecise,
};

/// The output has the query's shape.
ge::graphStatus InferShape(gert::InferShapeContext *context);

/// The output has the query's type, or int8 with quant_scale2.
ge::graphStatus InferDataType(gert::InferDataTypeContext *context);

/// Plans a call for the cores of the processor. A call that is refused fails, with a sentence on standard
/// error that names the argument, what it holds and what is allowed.
ge::graphStatus PlanTiling(gert::TilingContext *context);

}  // namespace ifa::ascendc
