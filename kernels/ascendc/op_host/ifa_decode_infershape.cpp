#include "kernels/ascendc/op_host/ifa_decode_inputs.h"

namespace ifa::ascendc {

ge::graphStatus InferShape(gert::InferShapeContext *context) {
  const gert::Shape *query = context->GetInputShape(kQuery);
  gert::Shape *output = context->GetOutputShape(0);
  if (query == nullptr || output == nullptr) return ge::GRAPH_FAILED;
  *output = *query;
  return ge::GRAPH_SUCCESS;
}

ge::graphStatus InferDataType(gert::InferDataTypeContext *context) {
  const bool quantised = context->GetOptionalInputDataType(kQuantScale2) != ge::DT_UNDEFINED;
  return context->SetOutputDataType(0, quantised ? ge::DT_INT8 : context->GetInputDataType(kQuery));
}

}  // namespace ifa::ascendc
