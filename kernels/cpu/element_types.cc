#include "element_types.h"

namespace ifa::cpu {

int64_t ElementSize(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return 4;
    case DataType::kInt8:
      return 1;
    default:
      return 2;
  }
}

const char *DataTypeName(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return "fp32";
    case DataType::kFloat16:
      return "fp16";
    case DataType::kBFloat16:
      return "bf16";
    case DataType::kInt8:
      return "int8";
  }
  return "unknown";
}

}  // namespace ifa::cpu
