// Tensors in global memory and in the memories of a core. Offsets and sizes are in elements, as on the
// device.
#pragma once

#include "ascendc/keywords.h"
#include "ascendc/numbers.h"
#include "sim/costs.h"
#include "sim/instruction.h"
#include "sim/machine.h"

namespace AscendC {

using ifa::sim::Site;

template <typename T>
class GlobalTensor {
 public:
  using PrimType = T;

  void SetGlobalBuffer(__gm__ T *buffer, uint64_t elements) {
    SetGlobalBuffer(buffer);
    if (range_.region != nullptr) {
      range_.limit = range_.address + elements * sizeof(T);
    }
  }
  void SetGlobalBuffer(__gm__ T *buffer) {
    range_.region = ifa::sim::Core::Current().machine().memory().Find(buffer);
    range_.address = reinterpret_cast<uint8_t *>(buffer);
    range_.limit = range_.region == nullptr ? nullptr : range_.region->data + range_.region->bytes;
  }

  /// By the scalar unit.
  T GetValue(uint64_t offset, Site site = Site::Here()) const {
    ifa::sim::Instruction read(PIPE_S, "GetValue", site);
    T value;
    std::memcpy(&value, read.Touch(ifa::sim::Access::kRead, range_, offset * sizeof(T), sizeof(T)),
                sizeof(T));
    read.Finish(read.core().machine().options().costs.scalar_global, 0);
    return value;
  }

  GlobalTensor operator[](uint64_t offset) const {
    GlobalTensor part = *this;
    part.range_.address += offset * sizeof(T);
    return part;
  }

  const ifa::sim::GlobalRange &range() const { return range_; }

 private:
  ifa::sim::GlobalRange range_;
};

template <typename T>
class LocalTensor {
 public:
  using PrimType = T;

  LocalTensor() = default;
  LocalTensor(TPosition position, const ifa::sim::LocalRange &range) : position_(position), range_(range) {}

  /// By the scalar unit.
  T GetValue(uint32_t offset, Site site = Site::Here()) const {
    ifa::sim::Instruction read(PIPE_S, "GetValue", site);
    T value;
    std::memcpy(&value, read.Touch(ifa::sim::Access::kRead, range_, offset * sizeof(T), sizeof(T)),
                sizeof(T));
    read.Finish(0, 0);
    return value;
  }
  template <typename U>
  void SetValue(uint32_t offset, U value, Site site = Site::Here()) const {
    ifa::sim::Instruction write(PIPE_S, "SetValue", site);
    const T stored = static_cast<T>(value);
    std::memcpy(write.Touch(ifa::sim::Access::kWrite, range_, offset * sizeof(T), sizeof(T)), &stored,
                sizeof(T));
    write.Finish(0, 0);
  }

  LocalTensor operator[](uint32_t offset) const {
    LocalTensor part = *this;
    part.range_.address += offset * sizeof(T);
    return part;
  }
  template <typename U>
  LocalTensor<U> ReinterpretCast() const {
    return LocalTensor<U>(position_, range_);
  }

  const ifa::sim::LocalRange &range() const { return range_; }

 private:
  TPosition position_ = TPosition::VECCALC;
  ifa::sim::LocalRange range_;
};

}  // namespace AscendC
