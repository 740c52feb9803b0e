// Order between the pipes of one core, where no queue gives it.
#pragma once

#include "kernel_operator.h"

namespace ifa::ascendc {

/// Makes what is issued from here on to the event's second pipe wait for what was issued to its first.
template <AscendC::HardEvent event>
__aicore__ inline void Order() {
  const auto id = static_cast<int32_t>(GetTPipePtr()->FetchEventID(event));
  AscendC::SetFlag<event>(id);
  AscendC::WaitFlag<event>(id);
}

/// Makes vector instructions issued from here on wait for those before.
__aicore__ inline void OrderVector() { AscendC::PipeBarrier<PIPE_V>(); }

}  // namespace ifa::ascendc
