#include "element_types.h"

namespace ifa::cpu {

int64_t ElementSize(DataType dtype) { return dtype == DataType::kFloat32 ? 4 : 2; }

const char *DataTypeName(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return "fp32";
    case DataType::kFloat16:
      return "fp16";
    case DataType::kBFloat16:
      return "bf16";
  }
  return "unknown";
}

}  // namespace ifa::cpu
