#include "instruction_set.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <initializer_list>

namespace ifa::cpu {
namespace {

#if defined(__x86_64__)
// clang's __builtin_cpu_supports() does not know this one.
bool HasF16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

// The compiler's own test, which also asks whether the operating system saves the registers.
bool MachineRuns([[maybe_unused]] InstructionSet isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
  if (isa == InstructionSet::kAvx2) {
    return avx2;
  }
  if (isa == InstructionSet::kAvx512) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
#endif
  return true;  // portable code, and NEON is part of every 64-bit Arm
}

const RangeKernels *BuiltKernels(InstructionSet isa) {
  switch (isa) {
    case InstructionSet::kPortable:
      return PortableKernels();
#if defined(__aarch64__)
    case InstructionSet::kNeon:
      return NeonKernels();
#elif defined(__x86_64__)
    case InstructionSet::kAvx2:
      return Avx2Kernels();
    case InstructionSet::kAvx512:
      return Avx512Kernels();
#endif
    default:
      return nullptr;
  }
}

InstructionSet FindBest() {
  for (const auto isa : {InstructionSet::kAvx512, InstructionSet::kAvx2, InstructionSet::kNeon}) {
    if (UsableKernels(isa) != nullptr) {
      return isa;
    }
  }
  return InstructionSet::kPortable;
}

}  // namespace

const RangeKernels *UsableKernels(InstructionSet isa) {
  return MachineRuns(isa) ? BuiltKernels(isa) : nullptr;
}

InstructionSet BestInstructionSet() {
  static const InstructionSet best = FindBest();
  return best;
}

const char *InstructionSetName(InstructionSet isa) {
  switch (isa) {
    case InstructionSet::kPortable:
      return "portable";
    case InstructionSet::kNeon:
      return "neon";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kAvx512:
      return "avx512";
  }
  return "unknown";
}

}  // namespace ifa::cpu
