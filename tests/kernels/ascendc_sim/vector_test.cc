// What the vector unit calculates, against plain loops.
#include <limits>

#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

// Two repeats and a part of a third, of either width.
constexpr uint32_t kCount = 300;
constexpr uint32_t kRoom = 320;

template <typename T>
using Pair = std::function<void(const LocalTensor<T> &, const LocalTensor<T> &, const LocalTensor<T> &)>;

// result = operation(x, y) for kCount elements, with x the start of the input and y what follows it.
template <typename T>
void GivesOfTwo(const std::string &name, const std::function<T(T, T)> &expected, const Pair<T> &operation,
                double tolerance = 0) {
  std::vector<T> results(kCount);
  for (uint32_t i = 0; i < kCount; ++i) {
    results[i] = expected(Number<T>(i), Number<T>(kRoom + i));
  }
  Gives<T>(
      name, results,
      [&](TPipe &pipe) {
        TBuf<> buffer, result;
        pipe.InitBuffer(buffer, 2 * kRoom * sizeof(T));
        pipe.InitBuffer(result, kRoom * sizeof(T));
        const auto both = Loaded<T>(buffer, 2 * kRoom);
        Duplicate(result.Get<T>(), static_cast<T>(1), kRoom);
        Settle();
        operation(result.Get<T>(), both, both[kRoom]);
        Settle();
        DataCopy(Output<T>(), result.Get<T>(), kRoom);
      },
      tolerance);
}

template <typename T>
void TestArithmeticOf(const std::string &type) {
  const auto rounded = [](float value) { return static_cast<T>(value); };
  const auto wide = [](T value) { return static_cast<float>(value); };
  GivesOfTwo<T>(
      "Add of " + type, [&](T x, T y) { return rounded(wide(x) + wide(y)); },
      [](auto &r, auto &x, auto &y) { Add(r, x, y, kCount); });
  GivesOfTwo<T>(
      "Sub of " + type, [&](T x, T y) { return rounded(wide(x) - wide(y)); },
      [](auto &r, auto &x, auto &y) { Sub(r, x, y, kCount); });
  GivesOfTwo<T>(
      "Mul of " + type, [&](T x, T y) { return rounded(wide(x) * wide(y)); },
      [](auto &r, auto &x, auto &y) { Mul(r, x, y, kCount); });
  GivesOfTwo<T>(
      "Max of " + type, [&](T x, T y) { return wide(x) > wide(y) ? x : y; },
      [](auto &r, auto &x, auto &y) { Max(r, x, y, kCount); });
  GivesOfTwo<T>(
      "Min of " + type, [&](T x, T y) { return wide(x) < wide(y) ? x : y; },
      [](auto &r, auto &x, auto &y) { Min(r, x, y, kCount); });
  GivesOfTwo<T>(
      "Adds of " + type, [&](T x, T) { return rounded(wide(x) + 3); },
      [](auto &r, auto &x, auto &) { Adds(r, x, static_cast<T>(3), kCount); });
  GivesOfTwo<T>(
      "Muls of " + type, [&](T x, T) { return rounded(wide(x) * 3); },
      [](auto &r, auto &x, auto &) { Muls(r, x, static_cast<T>(3), kCount); });
  GivesOfTwo<T>(
      "Maxs of " + type, [&](T x, T) { return rounded(std::max(wide(x), 3.0f)); },
      [](auto &r, auto &x, auto &) { Maxs(r, x, static_cast<T>(3), kCount); });
  GivesOfTwo<T>(
      "Mins of " + type, [&](T x, T) { return rounded(std::min(wide(x), 3.0f)); },
      [](auto &r, auto &x, auto &) { Mins(r, x, static_cast<T>(3), kCount); });
}

template <typename T>
void TestFunctionsOf(const std::string &type, double tolerance) {
  const auto rounded = [](double value) { return static_cast<T>(value); };
  const auto wide = [](T value) { return static_cast<double>(static_cast<float>(value)); };
  GivesOfTwo<T>(
      "Div of " + type, [&](T x, T y) { return rounded(wide(x) / wide(y)); },
      [](auto &r, auto &x, auto &y) { Div(r, x, y, kCount); }, tolerance);
  GivesOfTwo<T>(
      "Exp of " + type, [&](T x, T) { return rounded(std::exp(-std::fabs(wide(x)))); },
      [](auto &r, auto &x, auto &) {
        Abs(r, x, kCount);
        Settle();
        Muls(r, r, static_cast<T>(-1), kCount);
        Settle();
        Exp(r, r, kCount);
      },
      tolerance);
  GivesOfTwo<T>(
      "MulAddDst of " + type, [&](T x, T y) { return rounded(wide(x) * wide(y) + 1); },
      [](auto &r, auto &x, auto &y) { MulAddDst(r, x, y, kCount); });
}

void TestBits() {
  GivesOfTwo<int16_t>(
      "And", [](int16_t x, int16_t y) { return static_cast<int16_t>(x & y); },
      [](auto &r, auto &x, auto &y) { And(r, x, y, kCount); });
  GivesOfTwo<int16_t>(
      "Or", [](int16_t x, int16_t y) { return static_cast<int16_t>(x | y); },
      [](auto &r, auto &x, auto &y) { Or(r, x, y, kCount); });
}

// Kernels on the first 512 floats of the input and a result of as many, all -1.
void GivesFloats(const std::string &name, const std::vector<float> &expected,
                 const std::function<void(LocalTensor<float>, LocalTensor<float>)> &operation) {
  Gives<float>(name, expected, [&](TPipe &pipe) {
    TBuf<> buffer, result;
    pipe.InitBuffer(buffer, 2048);
    pipe.InitBuffer(result, 2048);
    const auto source = Loaded<float>(buffer, 512);
    Duplicate(result.Get<float>(), -1.0f, 512);
    Settle();
    operation(result.Get<float>(), source);
    Settle();
    DataCopy(Output<float>(), result.Get<float>(), 512);
  });
}

std::vector<float> Floats(size_t count, const std::function<float(size_t)> &value) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = value(i);
  }
  return values;
}

void TestWalk() {
  const auto number = [](size_t i) { return Number<float>(i); };
  // 3 repeats of 20 lanes: blocks of the result 2 apart and repeats 16, blocks of the source 1 apart and
  // repeats 9.
  GivesFloats("lanes, repeats and strides",
              Floats(512,
                     [&](size_t i) {
                       const size_t repeat = i / 128;
                       const size_t lane = i / 16 % 8 * 8 + i % 8;
                       return repeat < 3 && i / 8 % 2 == 0 && lane < 20 ? number(repeat * 72 + lane) + 1 : -1;
                     }),
              [](auto r, auto x) { Adds(r, x, 1.0f, 20, 3, {2, 1, 16, 9}); });
  GivesFloats(
      "lanes by bits",
      Floats(128,
             [&](size_t i) { return (0x8000000180000003ull >> (i % 64) & 1) != 0 ? number(i) + 1 : -1; }),
      [](auto r, auto x) {
        const uint64_t bits[2] = {0x8000000180000003ull, 0};
        Adds(r, x, 1.0f, bits, 2, {1, 1, 8, 8});
      });
  GivesFloats("one row against many", Floats(256, [&](size_t i) { return number(64 + i) * number(i % 64); }),
              [](auto r, auto x) { Mul(r, x[64], x, 64, 4, {1, 1, 1, 8, 8, 0}); });
  GivesFloats("one block against each row",
              Floats(256, [&](size_t i) { return number(64 + i) * number(i / 64 * 8 + i % 8); }),
              [](auto r, auto x) { Mul(r, x[64], x, 64, 4, {1, 1, 0, 8, 8, 1}); });
  GivesFloats("Duplicate with strides",
              Floats(256, [](size_t i) { return i / 64 % 2 == 0 && i % 16 < 8 ? 5.0f : -1; }),
              [](auto r, auto) { Duplicate(r, 5.0f, 32, 2, 2, 16); });
  GivesFloats("Brcb", Floats(128, [&](size_t i) { return number(i / 8); }),
              [](auto r, auto x) { Brcb(r, x, 2, {1, 8}); });
  // Products of halves are exact in float.
  Gives<half, float>(
      "MulAddDst of halves into floats",
      Floats(128,
             [](size_t i) {
               return static_cast<float>(Number<half>(i)) * static_cast<float>(Number<half>(i % 64)) + 0.5f;
             }),
      [](TPipe &pipe) {
        TBuf<> buffer, result;
        pipe.InitBuffer(buffer, 256);
        pipe.InitBuffer(result, 512);
        const auto x = Loaded<half>(buffer, 128);
        const auto sums = result.Get<float>();
        Duplicate(sums, 0.5f, 128);
        Settle();
        MulAddDst(sums, x, x, 64, 2, {1, 1, 1, 8, 4, 0});
        Settle();
        DataCopy(Output<float>(), sums, 128);
      });
}

void TestReductions() {
  const auto number = [](size_t i) { return Number<float>(i); };
  const auto reduced = [&](size_t first, size_t count, const std::function<float(float, float)> &step) {
    float value = number(first);
    for (size_t i = 1; i < count; ++i) {
      value = step(value, number(first + i));
    }
    return value;
  };
  const auto sum = [](float a, float b) { return a + b; };
  const auto most = [](float a, float b) { return std::max(a, b); };
  GivesFloats("WholeReduceSum",
              Floats(8, [&](size_t i) { return i % 2 == 0 && i < 6 ? reduced(i / 2 * 72, 50, sum) : -1; }),
              [](auto r, auto x) { WholeReduceSum(r, x, 50, 3, 2, 1, 9); });
  GivesFloats("WholeReduceMax", Floats(4, [&](size_t i) { return i < 3 ? reduced(i * 64, 50, most) : -1; }),
              [](auto r, auto x) { WholeReduceMax(r, x, 50, 3, 1, 1, 8, ReduceOrder::ORDER_ONLY_VALUE); });
  GivesFloats("WholeReduceMax with its lane",
              Floats(4,
                     [&](size_t i) {
                       const float most_value = reduced(i / 2 * 64, 64, most);
                       uint32_t lane = 0;
                       while (number(i / 2 * 64 + lane) != most_value) {
                         ++lane;
                       }
                       return i % 2 == 0 ? most_value : BitCast<float>(lane);
                     }),
              [](auto r, auto x) { WholeReduceMax(r, x, 64, 2, 1, 1, 8); });
}

template <typename To, typename From>
void GivesCast(const std::string &name, RoundMode mode, const std::vector<From> &values,
               const std::vector<To> &expected) {
  Tensors tensors;
  std::memcpy(tensors.input.data(), values.data(), values.size() * sizeof(From));
  Run(tensors, OneVectorCore(), [&] {
    TPipe pipe;
    TBuf<> buffer, result;
    pipe.InitBuffer(buffer, 1024);
    pipe.InitBuffer(result, 1024);
    const auto source = Loaded<From>(buffer, 256);
    Cast(result.Get<To>(), source, mode, 256);
    Settle();
    DataCopy(Output<To>(), result.Get<To>(), 256);
  });
  const auto got = tensors.Output<To>(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&got[i], &expected[i], sizeof(To)) != 0) {
      Report(name, std::to_string(static_cast<double>(values[i])) + " becomes " +
                       std::to_string(static_cast<double>(got[i])) + " instead of " +
                       std::to_string(static_cast<double>(expected[i])));
      return;
    }
  }
  Report(name, "");
}

half HalfOf(uint16_t bits) {
  half value;
  value.bits = bits;
  return value;
}

void TestCasts() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // 1 + 2^-10 is the next half after 1, 2049 lies between 2048 and 2050, 65520 between the largest half and
  // infinity.
  const std::vector<float> between = {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, -1 - 0x1p-11f, 2049, 65519,
                                      65520,        0x1p-25f,         3 * 0x1p-25f};
  const float next = 1 + 0x1p-10f;
  GivesCast<half>("float to half, to nearest", RoundMode::CAST_NONE, between,
                  std::vector<half>{1, 1 + 2 * 0x1p-10f, -1, 2048, 65504, kInfinity, 0, 0x1p-23f});
  GivesCast<half>(
      "float to half, up", RoundMode::CAST_CEIL, between,
      std::vector<half>{next, 1 + 2 * 0x1p-10f, -1, 2050, kInfinity, kInfinity, 0x1p-24f, 0x1p-23f});
  GivesCast<half>("float to half, down", RoundMode::CAST_FLOOR, between,
                  std::vector<half>{1, next, -next, 2048, 65504, 65504, 0, 0x1p-24f});
  GivesCast<half>("float to half, towards zero", RoundMode::CAST_TRUNC, between,
                  std::vector<half>{1, next, -1, 2048, 65504, 65504, 0, 0x1p-24f});
  GivesCast<half>(
      "float to half, ties away", RoundMode::CAST_ROUND, between,
      std::vector<half>{next, 1 + 2 * 0x1p-10f, -next, 2050, 65504, kInfinity, 0x1p-24f, 0x1p-23f});
  GivesCast<half>("float to half, odd", RoundMode::CAST_ODD, between,
                  std::vector<half>{next, next, -next, 2050, 65504, 65504, 0x1p-24f, 0x1p-24f});
  GivesCast<bfloat16_t>("float to bfloat16, to nearest", RoundMode::CAST_RINT,
                        std::vector<float>{1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -1 - 0x1p-8f, 3.39e38f},
                        std::vector<bfloat16_t>{1, 1 + 2 * 0x1p-7f, -1, 3.3895314e38f});
  GivesCast<bfloat16_t>("float to bfloat16, ties away", RoundMode::CAST_ROUND,
                        std::vector<float>{1 + 0x1p-8f, -1 - 0x1p-8f},
                        std::vector<bfloat16_t>{1 + 0x1p-7f, -1 - 0x1p-7f});
  GivesCast<int32_t>("float to int32", RoundMode::CAST_RINT,
                     std::vector<float>{2.5f, 3.5f, -2.5f, 3e9f, -3e9f},
                     std::vector<int32_t>{2, 4, -2, 2147483647, -2147483647 - 1});
  GivesCast<float>("float to a whole float", RoundMode::CAST_RINT, std::vector<float>{2.5f, 3.5f, -0.75f},
                   std::vector<float>{2, 4, -1});
  GivesCast<float>("int32 to float", RoundMode::CAST_NONE, std::vector<int32_t>{-3, 16777217},
                   std::vector<float>{-3, 16777216});
  GivesCast<int8_t>("half to int8", RoundMode::CAST_RINT, std::vector<half>{1.5f, 2.5f, -300, 300},
                    std::vector<int8_t>{2, 2, -128, 127});
  std::vector<int8_t> bytes(256);
  std::vector<half> of_bytes(256);
  std::vector<uint8_t> unsigned_bytes(256);
  std::vector<half> of_unsigned(256);
  for (int i = 0; i < 256; ++i) {
    bytes[i] = static_cast<int8_t>(i - 128);
    of_bytes[i] = i - 128;
    unsigned_bytes[i] = static_cast<uint8_t>(i);
    of_unsigned[i] = i;
  }
  GivesCast<half>("int8 to half", RoundMode::CAST_NONE, bytes, of_bytes);
  GivesCast<half>("uint8 to half", RoundMode::CAST_NONE, unsigned_bytes, of_unsigned);
  GivesCast<float>(
      "half to float", RoundMode::CAST_NONE,
      std::vector<half>{HalfOf(0x0001), HalfOf(0x83ff), HalfOf(0x7c00), HalfOf(0x7bff), HalfOf(0x3c01)},
      std::vector<float>{0x1p-24f, -1023 * 0x1p-24f, kInfinity, 65504, next});
  GivesCast<float>("bfloat16 to float", RoundMode::CAST_NONE, std::vector<bfloat16_t>{1.5f, -2e30f},
                   std::vector<float>{1.5f, static_cast<float>(bfloat16_t(-2e30f))});
}

// Every half is what its bits say, and every half comes back from float.
void TestHalves() {
  std::string problem;
  for (uint32_t bits = 0; bits < 0x10000 && problem.empty(); ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const int digits = static_cast<int>(bits & 1023);
    if (exponent == 31) {
      continue;
    }
    const double magnitude =
        exponent == 0 ? std::ldexp(digits, -24) : std::ldexp(1024 + digits, exponent - 25);
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    if (value != (bits >> 15 != 0 ? -magnitude : magnitude) || FloatToHalf(value) != bits) {
      problem = "bits " + std::to_string(bits);
    }
  }
  Report("all halves", problem);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Report("a NaN stays one",
         std::isnan(static_cast<float>(half(nan))) && std::isnan(static_cast<float>(bfloat16_t(nan)))
             ? ""
             : "it does not");
}

}  // namespace

void TestVector() {
  TestArithmeticOf<float>("float");
  TestArithmeticOf<half>("half");
  TestArithmeticOf<int32_t>("int32");
  TestFunctionsOf<float>("float", 1e-6);
  TestFunctionsOf<half>("half", 2e-3);
  TestBits();
  TestWalk();
  TestReductions();
  TestCasts();
  TestHalves();
}

}  // namespace ifa::sim::test
