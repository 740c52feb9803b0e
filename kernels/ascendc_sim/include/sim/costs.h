// The model of time: what an instruction costs, in cycles. Rates are the published ones of the 910B (platform
// file of CANN 8.1: bytes per cycle and core; 256 bytes per cycle in the vector unit; 16 x 16 x 16 products
// per cycle in the cube unit). What nobody publishes is an assumption, and marked as one.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ifa::sim {

struct Costs {
  double clock = 1.8e9;           ///< cycles per second
  double hbm_bandwidth = 1.6e12;  ///< bytes per second, shared by the cores that read
  double hbm_core = 0;  ///< a limit of bytes per cycle that one core takes from HBM; 0 for none but l2_read
  double l2_read = 110;
  double l2_write = 86;
  double ub_to_global = 64;
  double l1_to_l0a = 512;
  double l1_to_l0b = 256;
  double fill_l1 = 512;          // assumed: as fast as the memory is read
  double within_ub = 256;        // a repeat of the vector unit
  double accumulate_repeat = 2;  // of MulAddDst, which reads three operands (its document: half the rate)
  double slow_repeat = 4;        // assumed: cycles of a repeat of Exp and Div
  double reduce_repeat = 2;      // assumed: cycles of a repeat of a reduction

  // Assumed: the scalar unit's work for one call, and the time that passes between the end of an
  // instruction's turn in its pipe and its result.
  double scalar_call = 8;
  double scalar_global = 64;  ///< GetValue of global memory; most find it in the data cache
  double vector_latency = 16;
  double cube_latency = 32;
  double local_copy_latency = 32;
  double global_latency = 600;
  double copy_start = 32;  ///< of a pipe's time, for every copy from or to global memory
  double cross_core_latency = 300;

  /// Bytes per cycle that one of `readers` cores gets from HBM.
  double HbmShare(uint32_t readers) const {
    return std::min(hbm_core > 0 ? hbm_core : l2_read, hbm_bandwidth / readers / clock);
  }
};

}  // namespace ifa::sim
