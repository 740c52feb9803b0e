// The two queues through which all that a vector core of the cube path reads or writes passes, one after the
// other. One pair for all, as each buffer of a queue takes one of the eight events between two pipes.
#pragma once

#include "cube_plan.h"
#include "kernel_operator.h"

namespace ifa::ascendc {

struct VectorStaging {
  AscendC::TQue<AscendC::TPosition::VECIN, 1> arrivals;
  AscendC::TQue<AscendC::TPosition::VECOUT, 1> departures;

  __aicore__ inline void Init(AscendC::TPipe *pipe, bool int8_cache) {
    pipe->InitBuffer(arrivals, Arrivals(int8_cache), ArrivalBytes(int8_cache));
    pipe->InitBuffer(departures, kDepartures, DepartureBytes(int8_cache));
  }
};

}  // namespace ifa::ascendc
