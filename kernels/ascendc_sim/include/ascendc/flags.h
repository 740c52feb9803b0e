// Synchronisation of pipes and of cores.
#pragma once

#include "ascendc/tensors.h"

namespace AscendC {

template <HardEvent event>
void SetFlag(int32_t id, Site site = Site::Here()) {
  ifa::sim::Core::Current().SetFlag(event, id, site);
}

template <HardEvent event>
void WaitFlag(int32_t id, Site site = Site::Here()) {
  ifa::sim::Core::Current().WaitFlag(event, id, site);
}

template <pipe_t pipe>
void PipeBarrier(Site site = Site::Here()) {
  ifa::sim::Core::Current().Barrier(pipe, site);
}

/// Mode 0: all cores of this kind; 1: the vector cores of the group; 2: from the cube core of a group to its
/// vector cores, or back. The flag counts as set when `pipe` has done all that was issued before.
template <uint8_t mode, pipe_t pipe>
void CrossCoreSetFlag(uint16_t flag, Site site = Site::Here()) {
  static_assert(mode <= 2 && pipe != PIPE_S && pipe != PIPE_ALL);
  auto &core = ifa::sim::Core::Current();
  core.Require(core.Has(pipe), ifa::sim::Check::kWrongCore, site,
               "this core does not have the pipe of the flag");
  // 11 to 14 belong to SyncAll.
  core.Require(flag < 11 || flag == 15, ifa::sim::Check::kFlagInVain, site,
               "flags have numbers from 0 to 10, and 15");
  core.ScalarCall();
  core.machine().CrossSet(core, mode, flag, core.After(pipe), site);
}

template <uint8_t mode = 0, pipe_t pipe = PIPE_S>
void CrossCoreWaitFlag(uint16_t flag, Site site = Site::Here()) {
  auto &core = ifa::sim::Core::Current();
  core.machine().CrossWait(core, mode, flag, site);
}

/// All vector cores, or all cores, have done all that they issued before any of them goes on.
template <bool isAIVOnly = true>
void SyncAll(Site site = Site::Here()) {
  auto &core = ifa::sim::Core::Current();
  core.Require(!isAIVOnly || core.kind() == ifa::sim::CoreKind::kVector, ifa::sim::Check::kWrongCore, site,
               "SyncAll<true> is of the vector cores");
  core.Barrier(PIPE_ALL, site);
  const int mode = isAIVOnly ? ifa::sim::Machine::kAllVector : ifa::sim::Machine::kAll;
  core.machine().CrossSet(core, mode, 0, core.After(PIPE_S), site);
  core.machine().CrossWait(core, mode, 0, site);
}

}  // namespace AscendC
