#include "sim/global_memory.h"

#include "sim/local_memory.h"

namespace ifa::sim {

void GlobalMemory::AddInput(const std::string &name, const void *data, uint64_t bytes, Placement placement) {
  auto region = std::make_unique<GlobalRegion>();
  region->name = name;
  region->data = static_cast<uint8_t *>(const_cast<void *>(data));
  region->bytes = bytes;
  region->placement = placement;
  region->is_input = true;
  regions_.push_back(std::move(region));
}

void GlobalMemory::AddOutput(const std::string &name, void *data, uint64_t bytes, Placement placement) {
  AddInput(name, data, bytes, placement);
  regions_.back()->is_input = false;
  regions_.back()->blocks.resize((bytes + kBlockBytes - 1) / kBlockBytes);
}

GlobalRegion *GlobalMemory::Find(const void *address) const {
  for (const auto &region : regions_) {
    if (address >= region->data && address < region->data + region->bytes) {
      return region.get();
    }
  }
  return nullptr;
}

}  // namespace ifa::sim
