// What goes into a register of the matrix unit (AMX), here called a "panel": 16 rows of 64 bytes, of bfloat16
// in pairs. Other numbers are split into pieces of 8 significant bits, each a bfloat16. Included after
// vec_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <type_traits>

namespace ifa::cpu {
namespace {

constexpr int kPanelRows = 16;
constexpr int kPanelBytes = 1024;
constexpr int kPanelRowBytes = 64;
constexpr int kPanelFloats = kPanelBytes / static_cast<int>(sizeof(float));
constexpr int kPairChannels = 32;  // of a row of K in one panel: 16 pairs

// The pairs (a, b) of 32-bit lanes as bfloat16, a in the lower half: the upper halves of fp32 as they are,
// the rest is the next piece.
inline __attribute__((always_inline)) __m512i UpperHalves(__m512 a, __m512 b) {
  const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(a), 16);
  constexpr int kChoose = 0xF8;  // low | (b & mask)
  return _mm512_ternarylogic_epi32(low, _mm512_castps_si512(b),
                                   _mm512_set1_epi32(static_cast<int>(0xFFFF0000U)), kChoose);
}

// 32 channels of a row of the cache as bfloat16. Of int8, channels r and r + 16 become neighbours.
inline __attribute__((always_inline)) __m512i LoadChannels(const BFloat16 *row) {
  return _mm512_loadu_si512(row);
}
inline __attribute__((always_inline)) __m512i LoadChannels(const int8_t *row) {
  return UpperHalves(Vec::Load(row).v, Vec::Load(row + Vec::kLanes).v);
}

// The upper halves of 32 channels of fp32 in the order of LoadChannels.
template <typename T>
__m512i UpperHalvesLike(__m512 first, __m512 second) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    const __m512i words = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31,
                                           29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_epi16(_mm512_castps_si512(first), words, _mm512_castps_si512(second));
  } else {
    return UpperHalves(first, second);
  }
}

inline __attribute__((always_inline)) __m512 WithoutUpperHalf(__m512 a) {
  const __m512i upper =
      _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(static_cast<int>(0xFFFF0000U)));
  return _mm512_sub_ps(a, _mm512_castsi512_ps(upper));
}

// The nearest bfloat16 is then the upper half.
inline __attribute__((always_inline)) __m512 RoundedForUpperHalf(__m512 a) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x8000)));
}

// Swaps bit `bit` of the index of a lane with the choice between the two vectors.
template <int bit>
inline __attribute__((always_inline)) void SwapLaneBit(__m512i *first, __m512i *second) {
  constexpr auto kFrom = [](int lane) { return (lane & ~bit) + ((lane & bit) != 0 ? 16 : 0); };
  const __m512i lower =
      _mm512_setr_epi32(kFrom(0), kFrom(1), kFrom(2), kFrom(3), kFrom(4), kFrom(5), kFrom(6), kFrom(7),
                        kFrom(8), kFrom(9), kFrom(10), kFrom(11), kFrom(12), kFrom(13), kFrom(14), kFrom(15));
  const __m512i upper = _mm512_add_epi32(lower, _mm512_set1_epi32(bit));
  const __m512i a = *first;
  const __m512i b = *second;
  *first = _mm512_permutex2var_epi32(a, lower, b);
  *second = _mm512_permutex2var_epi32(a, upper, b);
}

// Eight vectors (8 x 2 positions, 8 heads) become eight (8 heads, 2 x 8 positions).
inline __attribute__((always_inline)) void HeadsToRows(__m512i *v) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    SwapLaneBit<1>(v + 2 * i, v + 2 * i + 1);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int first = i / 2 * 4 + i % 2;
    SwapLaneBit<2>(v + first, v + first + 2);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    SwapLaneBit<4>(v + i, v + i + 4);
  }
}

// All panels are whole: what has no content is zero.
class PanelRegisters {
 public:
  PanelRegisters() {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = kPanelRowBytes;
      config.rows[i] = kPanelRows;
    }
    _tile_loadconfig(&config);
  }
  ~PanelRegisters() { _tile_release(); }
  PanelRegisters(const PanelRegisters &) = delete;
  PanelRegisters &operator=(const PanelRegisters &) = delete;
};

}  // namespace
}  // namespace ifa::cpu
