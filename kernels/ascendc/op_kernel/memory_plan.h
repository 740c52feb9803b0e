// Sizes of the processor's memories, and what the vector path makes of them. Host and device compile it: the
// host's tiles are as large as what is laid out here holds. cube_plan.h does the same for the cube path.
#pragma once

#include <cstdint>

// On functions that both sides call: an attribute that only the device's headers, included before, know.
#ifdef __aicore__
#define IFA_SHARED __aicore__
#else
#define IFA_SHARED
#endif

namespace ifa::ascendc {

constexpr IFA_SHARED uint32_t CeilDiv(uint32_t number, uint32_t divisor) {
  return (number + divisor - 1) / divisor;
}
constexpr IFA_SHARED uint32_t RoundUp(uint32_t number, uint32_t multiple) {
  return CeilDiv(number, multiple) * multiple;
}
constexpr IFA_SHARED uint32_t Min(uint32_t a, uint32_t b) { return a < b ? a : b; }

/// Of an Ascend 910B (CANN's documents on architecture 2201): per vector core the unified buffer, without the
/// 8 KiB that the compiler keeps for instructions which need scratch and the 256 bytes of the runtime; per
/// cube core L1, without the 256 bytes of the runtime, and the three L0.
constexpr uint32_t kUbBytes = 192 * 1024 - 8 * 1024 - 256;
constexpr uint32_t kL1Bytes = 512 * 1024 - 256;
constexpr uint32_t kL0aBytes = 64 * 1024;
constexpr uint32_t kL0bBytes = 64 * 1024;
constexpr uint32_t kL0cBytes = 128 * 1024;

constexpr uint32_t kBlockBytes = 32;  ///< in which the unified buffer is addressed
constexpr uint32_t kBlockFloats = kBlockBytes / sizeof(float);
constexpr uint32_t kLanes = 64;  ///< fp32 numbers of one vector instruction's repeat

constexpr uint32_t kMaxHeadSize = 512;
constexpr uint32_t kMaxGroup = 64;

/// Rows of keys, values and outputs are padded to this many channels.
constexpr uint32_t kChannelPad = 16;
constexpr IFA_SHARED uint32_t PaddedHeadSize(uint32_t headSize) { return RoundUp(headSize, kChannelPad); }

/// Elements of one tile of keys, or of values, of the vector path: 32 KiB, of which two of each are in
/// flight. Twice the 16 KiB that a copy needs to reach the memory's rate.
constexpr uint32_t kVectorTileElements = 16 * 1024;
/// More positions would only make their scores and weights take the room of longer rows.
constexpr uint32_t kVectorMaxTileRows = 256;

/// Scratch for products before they are summed: [rows][up to kLanes] of queries and keys, [rows][channels] of
/// weights and values; and for the partial results that are combined at the end.
constexpr uint32_t kScratchFloats = 8 * 1024;
/// Keys whose products with the query are summed at once.
constexpr uint32_t kProductRows = kScratchFloats / kLanes;

/// Positions of a tile of the vector path, a multiple of 16.
constexpr IFA_SHARED uint32_t VectorTileRows(uint32_t headSize) {
  return Min(kVectorTileElements / PaddedHeadSize(headSize) / 16 * 16, kVectorMaxTileRows);
}

/// Values whose weighted rows are held apart before they are folded into one.
constexpr IFA_SHARED uint32_t ValueRows(uint32_t headSize) {
  return Min(kScratchFloats / PaddedHeadSize(headSize), kProductRows);
}

}  // namespace ifa::ascendc
