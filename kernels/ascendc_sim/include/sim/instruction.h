// One instruction in a pipe: it touches memory through checks, and then takes its time.
#pragma once

#include "sim/core.h"

namespace ifa::sim {

enum class Access : uint8_t { kRead, kWrite };

class Instruction {
 public:
  /// The next instruction of `pipe` on the current core. `name` must be a literal.
  Instruction(pipe_t pipe, const char *name, const Site &site);

  /// All of `bytes` at `offset` of `range`, which must lie in its buffer: recorded, and checked for order.
  /// Reads demand that it has been written.
  uint8_t *Touch(Access access, const LocalRange &range, uint32_t offset, uint32_t bytes);

  /// The bytes with a bit in `bytes` of the 32-byte block number `block` of `memory`, without a check of
  /// bounds.
  void TouchBlock(Access access, LocalMemory &memory, uint32_t block, uint32_t bytes);

  /// Like TouchBlock, but neither demands nor records that the bytes are written: for moves of memory as it
  /// is.
  void Order(Access access, LocalMemory &memory, uint32_t block, uint32_t bytes);

  uint8_t *Touch(Access access, const GlobalRange &range, int64_t offset, uint64_t bytes);

  void Bounds(const LocalRange &range, uint64_t offset, uint64_t bytes) const;
  void Align(const LocalRange &range, uint32_t alignment, const char *operand) const;
  void Require(bool holds, Check check, const char *problem) const {
    core_.Require(holds, check, site_, problem);
  }
  [[noreturn]] void Fail(Check check, const std::string &problem) const { core_.Fail(check, site_, problem); }

  /// Takes `cycles` of the pipe; the result is there `latency` later.
  void Finish(double cycles, double latency);

  Core &core() { return core_; }
  const char *name() const { return name_; }
  LocalMemory &memory(Memory memory) const { return core_.memory(memory, site_); }

 private:
  void CheckConflict(Access access, const LocalMemory &memory, uint32_t block, int slot, const Stamp &stamp,
                     Access earlier) const;
  void TouchGlobalBlock(Access access, GlobalRegion &region, uint64_t block, uint32_t bytes);
  [[noreturn]] void FailOrder(Access access, const std::string &where, int timeline, uint32_t number,
                              Access earlier) const;

  Core &core_;
  Pipe &pipe_;
  pipe_t pipe_kind_;
  const char *name_;
  Site site_;
  uint32_t number_;
  const uint32_t *known_;  // of the core's own pipes
};

}  // namespace ifa::sim
