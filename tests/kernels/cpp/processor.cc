#include "processor.h"

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#endif

namespace ifa::cpu::test {
#if defined(__x86_64__)
namespace {

// The words of the first line "flags : fpu vme ...". Linux leaves out those whose registers it does not save.
std::set<std::string> ReadFlags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) == 0) {
      std::istringstream words(line.substr(line.find(':') + 1));
      return {std::istream_iterator<std::string>(words), {}};
    }
  }
  throw std::runtime_error("/proc/cpuinfo has no line of flags");
}

bool HasFlags(std::initializer_list<const char *> flags) {
  static const std::set<std::string> all = ReadFlags();
  return std::all_of(flags.begin(), flags.end(), [](const char *flag) { return all.count(flag) == 1; });
}

// Linux before 5.16 shows the flags of the matrix unit, but gives no process its registers.
bool SystemSavesTiles() {
  constexpr int kGetSupported = 0x1021;  // ARCH_GET_XCOMP_SUPP
  constexpr unsigned kTileData = 18;     // XFEATURE_XTILEDATA
  unsigned long features = 0;
  return syscall(SYS_arch_prctl, kGetSupported, &features) == 0 && (features >> kTileData & 1) != 0;
}

}  // namespace

bool ProcessorHas(InstructionSet isa) {
  switch (isa) {
    case InstructionSet::kPortable:
      return true;
    case InstructionSet::kAvx2:
      return HasFlags({"avx2", "fma", "f16c"});
    case InstructionSet::kAvx512:
      return ProcessorHas(InstructionSet::kAvx2) && HasFlags({"avx512f", "avx512bw", "avx512vl", "avx512dq"});
    case InstructionSet::kAmx:
      return ProcessorHas(InstructionSet::kAvx512) && HasFlags({"amx_bf16", "amx_tile"}) &&
             SystemSavesTiles();
    default:
      return false;
  }
}
#else
bool ProcessorHas(InstructionSet isa) {
#if defined(__aarch64__)
  return isa == InstructionSet::kPortable || isa == InstructionSet::kNeon;
#else
  return isa == InstructionSet::kPortable;
#endif
}
#endif

}  // namespace ifa::cpu::test
