// Keeps every thread of this process on a CPU of its own.
#pragma once

namespace ifa::cpu::bench {

/// Pins the threads that exist now, in the order of their ids, to the CPUs of the process in turn.
void PinThreads();

}  // namespace ifa::cpu::bench
