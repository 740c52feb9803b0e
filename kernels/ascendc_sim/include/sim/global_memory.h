// The tensors in global memory that a launch may touch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ifa::sim {

/// Where a tensor's bytes come from when a core reads them: decides the rate of the copy.
enum class Placement { kHbm, kL2 };

struct GlobalAccess {
  uint32_t timeline;  ///< core and pipe
  uint32_t number;    ///< the instruction
  uint32_t bytes;     ///< one bit for each of the 32
  bool is_write;
};

/// 32 bytes of a tensor that the kernel writes.
struct GlobalBlock {
  uint32_t written = 0;  ///< one bit for each byte
  std::vector<GlobalAccess> accesses;
};

struct GlobalRegion {
  std::string name;
  uint8_t *data = nullptr;
  uint64_t bytes = 0;
  Placement placement = Placement::kHbm;
  bool is_input = false;
  std::vector<GlobalBlock> blocks;  ///< none for an input
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
};

class GlobalMemory {
 public:
  /// Read-only. `bytes` may be 0, for an optional tensor that is absent.
  void AddInput(const std::string &name, const void *data, uint64_t bytes,
                Placement placement = Placement::kHbm);

  /// Written by the kernel, and read only where it has been written.
  void AddOutput(const std::string &name, void *data, uint64_t bytes, Placement placement = Placement::kL2);

  /// The region that holds `address`, or none.
  GlobalRegion *Find(const void *address) const;

  const std::vector<std::unique_ptr<GlobalRegion>> &regions() const { return regions_; }

 private:
  std::vector<std::unique_ptr<GlobalRegion>> regions_;
};

}  // namespace ifa::sim
