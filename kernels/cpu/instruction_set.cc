#include "instruction_set.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <iterator>

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

bool HasAmx() {
  constexpr unsigned kBfloat16 = 1U << 22;
  constexpr unsigned kTiles = 1U << 24;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kBfloat16) != 0 &&
         (edx & kTiles) != 0;
}

// Linux saves the 8 KiB of the unit's registers only for processes that ask for them (since 5.16; "Using
// XSTATE features in user space applications" in its documentation).
bool MayUseAmx() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// The compiler's own test, which also asks whether the operating system saves the registers.
bool FindWhetherMachineRuns([[maybe_unused]] InstructionSet isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
  if (isa == InstructionSet::kAvx2) {
    return avx2;
  }
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (isa == InstructionSet::kAvx512) {
    return avx512;
  }
  if (isa == InstructionSet::kAmx) {
    return avx512 && HasAmx() && MayUseAmx();
  }
#endif
  return true;  // portable code, and NEON is part of every 64-bit Arm
}

// Asking the processor takes microseconds on a virtual machine.
bool MachineRuns(InstructionSet isa) {
  static const auto answers = [] {
    std::array<bool, std::size(kInstructionSets)> runs{};
    for (const auto known : kInstructionSets) {
      runs[static_cast<size_t>(known)] = FindWhetherMachineRuns(known);
    }
    return runs;
  }();
  const auto index = static_cast<size_t>(isa);
  return index < answers.size() && answers[index];
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
    case InstructionSet::kAmx:
      return AmxKernels();
#endif
    default:
      return nullptr;
  }
}

InstructionSet FindBest() {
  return *std::find_if(std::rbegin(kInstructionSets), std::rend(kInstructionSets),
                       [](InstructionSet isa) { return UsableKernels(isa) != nullptr; });
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
    case InstructionSet::kAmx:
      return "amx";
  }
  return "unknown";
}

}  // namespace ifa::cpu
