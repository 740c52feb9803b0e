// The two queues through which all that a vector core of the cube path reads or writes passes, one after the
// other. One pair for all, as each buffer of a queue takes one of the eight events between two pipes.
#pragma once

#include "cube_plan.h"
#include "kernel_operator.h"

namespace ifa::ascendc {

struct VectorStaging {
  AscendC::TQue<AscendC::TPosition::VECIN, 1> arrivals;
  AscendC::TQue<AscendC::TPosition::VECOUT, 1> departures;

  StagingPlan plan;

  __aicore__ inline void Init(AscendC::TPipe *pipe, uint32_t group, uint32_t head_size, bool int8_cache) {
    plan = PlanStaging(group, head_size, int8_cache);
    pipe->InitBuffer(arrivals, plan.arrivals, plan.arrival_bytes);
    pipe->InitBuffer(departures, plan.departures, plan.departure_bytes);
  }

  /// What Init() takes of the unified buffer.
  static constexpr uint32_t Bytes(const StagingPlan &plan) {
    return plan.arrivals * plan.arrival_bytes + plan.departures * plan.departure_bytes;
  }
};

}  // namespace ifa::ascendc
