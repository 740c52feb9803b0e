// What the emulator reports: one breach of a rule of the device, which ends the launch.
#pragma once

#include <stdexcept>
#include <string>

#include "sim/site.h"

namespace ifa::sim {

enum class Check {
  kBufferSize,    ///< buffers beyond a core's memory, or too many of them
  kBufferBounds,  ///< an access outside the buffer of its local tensor
  kGlobalBounds,  ///< an access outside the global tensor, or a write to an input
  kAlignment,     ///< an address that the instruction cannot take
  kCopyRange,     ///< counts, lengths or strides that a copy cannot encode
  kVectorRange,   ///< a repeat, mask or stride that a vector instruction cannot encode
  kCubeRange,     ///< sizes or layouts that a cube instruction cannot take
  kCastMode,      ///< a pair of types or a rounding that Cast does not have
  kOverlap,       ///< operands of one instruction that overlap where they must not
  kUnwritten,     ///< a read of memory that nothing has written
  kQueue,         ///< tensors of a queue allocated, enqueued, dequeued, freed or used out of turn
  kFlagSetTwice,  ///< a flag set again before anything awaited it
  kFlagInVain,    ///< a flag awaited that nothing sets
  kFlagLeftSet,   ///< a flag still set at the end
  kFlagCounter,   ///< a flag between cores set more often than its counter holds
  kDeadlock,      ///< every core that is left waits for another
  kWrongCore,     ///< an instruction that this kind of core does not have
  kOrder,         ///< two accesses to the same memory without synchronisation between them
  kKernelType,    ///< a launch of another kind than the kernel declares
};

/// The name of a check as it stands in reports, for example "order".
const char *CheckName(Check check);

class Finding : public std::runtime_error {
 public:
  /// `problem` says what was given and what is allowed.
  Finding(Check check, const Site &site, const std::string &where, const std::string &problem);

  Check check() const { return check_; }
  const Site &site() const { return site_; }  ///< the line of the kernel

 private:
  Check check_;
  Site site_;
};

}  // namespace ifa::sim
