// What a kernel asks of its launch: which core it runs on, its type, its tiling data.
#pragma once

#include <cstring>

#include "ascendc/tensors.h"

#define ASCEND_IS_AIC (ifa::sim::Core::Current().kind() == ifa::sim::CoreKind::kCube)
#define ASCEND_IS_AIV (ifa::sim::Core::Current().kind() == ifa::sim::CoreKind::kVector)

#define TILING_KEY_IS(key) (ifa::sim::Core::Current().machine().options().tiling_key == (key))
#define KERNEL_TASK_TYPE(key, type) \
  if (TILING_KEY_IS(key)) AscendC::DeclareKernelType(type)
#define REGISTER_TILING_DEFAULT(Struct) static_assert(std::is_trivially_copyable_v<Struct>)
#define GET_TILING_DATA_WITH_STRUCT(Struct, name, tiling) \
  Struct name;                                            \
  std::memcpy(&name, tiling, sizeof(Struct))

enum KernelMetaType {
  KERNEL_TYPE_AIV_ONLY,
  KERNEL_TYPE_AIC_ONLY,
  KERNEL_TYPE_MIX_AIV_1_0,
  KERNEL_TYPE_MIX_AIC_1_0,
  KERNEL_TYPE_MIX_AIC_1_1,
  KERNEL_TYPE_MIX_AIC_1_2,
};

namespace AscendC {

inline void DeclareKernelType(KernelMetaType type, Site site = Site::Here()) {
  const auto &core = ifa::sim::Core::Current();
  core.Require(static_cast<int>(core.machine().options().type) == static_cast<int>(type),
               ifa::sim::Check::kKernelType, site, "the launch is of another type than the kernel declares");
}

inline int64_t GetBlockNum() { return ifa::sim::Core::Current().machine().options().blocks; }
inline int64_t GetSubBlockIdx() { return ifa::sim::Core::Current().sub(); }
inline int64_t GetSubBlockNum() {
  return ifa::sim::Core::Current().machine().options().type == ifa::sim::KernelType::kMixAic1_2 ? 2 : 1;
}
/// Of a vector core among all vector cores, of a cube core among all cube cores.
inline int64_t GetBlockIdx() {
  const auto &core = ifa::sim::Core::Current();
  return ASCEND_IS_AIC ? core.block() : core.block() * GetSubBlockNum() + core.sub();
}

inline GM_ADDR GetUserWorkspace(GM_ADDR workspace) { return workspace; }

}  // namespace AscendC
