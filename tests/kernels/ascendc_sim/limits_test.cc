// What an instruction cannot encode or reach: sizes, addresses, masks, strides, types.
#include "sim/finding.h"
#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

constexpr uint32_t kCount = 256;
constexpr uint32_t kBytes = kCount * sizeof(float);

// Kernels with a buffer of kCount floats from the input, and one for a result.
void BreaksVector(const std::string &name, Check check,
                  const std::function<void(bool, LocalTensor<float>, LocalTensor<float>)> &kernel) {
  Breaks(name, check, OneVectorCore(), [&](bool broken) {
    TPipe pipe;
    TBuf<> source, result;
    pipe.InitBuffer(source, kBytes);
    pipe.InitBuffer(result, kBytes);
    kernel(broken, Loaded<float>(source, kCount), result.Get<float>());
  });
}

// Kernels of a cube core with a buffer in each of its memories.
struct CubeBuffers {
  TPipe pipe;
  TBuf<TPosition::A1> l1;
  TBuf<TPosition::A2> l0a;
  TBuf<TPosition::B2> l0b;
  TBuf<TPosition::CO1> l0c;

  CubeBuffers() {
    pipe.InitBuffer(l1, 8192);
    pipe.InitBuffer(l0a, 8192);
    pipe.InitBuffer(l0b, 8192);
    pipe.InitBuffer(l0c, 8192);
  }
};

void BreaksCube(const std::string &name, Check check,
                const std::function<void(bool, CubeBuffers &)> &kernel) {
  LaunchOptions options = OneVectorCore();
  options.type = KernelType::kMixAic1_0;
  Breaks(name, check, options, [&](bool broken) {
    CubeBuffers buffers;
    kernel(broken, buffers);
  });
}

void TestBuffers() {
  Breaks("more than the unified buffer has", Check::kBufferSize, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    TBuf<> all, more;
    pipe.InitBuffer(all, 184 * 1024 - 256 - (broken ? 0 : 32));
    BreaksHere();
    pipe.InitBuffer(more, 1);
  });
  Breaks("more buffers than a kernel may have", Check::kBufferSize, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    std::array<TBuf<>, 64> most;
    TBuf<> more;
    for (size_t i = 0; i < most.size() - (broken ? 0 : 1); ++i) {
      pipe.InitBuffer(most[i], 32);
    }
    BreaksHere();
    pipe.InitBuffer(more, 32);
  });
  BreaksVector("a vector instruction beyond its buffer", Check::kBufferBounds,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result, source, 1.0f, broken ? kCount + 1 : kCount);
               });
  BreaksVector("a stride that leads beyond the buffer", Check::kBufferBounds,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result, source, 1.0f, 64, 4, {1, 1, 8, broken ? 9 : 8});
               });
  BreaksVector("a copy beyond its buffer", Check::kBufferBounds,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopy(result[8], Input<float>(), broken ? kCount : kCount - 8);
               });
  BreaksVector("a copy beyond its buffer by its stride", Check::kBufferBounds,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopy(result, Input<float>(), DataCopyParams(2, 8, 0, broken ? 17 : 16));
               });
}

void TestGlobalBounds() {
  BreaksVector("a copy beyond a tensor", Check::kGlobalBounds,
               [](bool broken, const auto &, const auto &result) {
                 const uint64_t last = kGlobalBytes / sizeof(float) - 8;
                 BreaksHere();
                 DataCopy(result, Input<float>()[broken ? last + 1 : last], 8);
               });
  BreaksVector("a copy beyond what SetGlobalBuffer gave", Check::kGlobalBounds,
               [](bool broken, const auto &, const auto &result) {
                 GlobalTensor<float> part;
                 part.SetGlobalBuffer(reinterpret_cast<float *>(Current().input.data()), 16);
                 BreaksHere();
                 DataCopy(result, part, broken ? 24 : 16);
               });
  BreaksVector("a tail beyond a tensor", Check::kGlobalBounds,
               [](bool broken, const auto &, const auto &result) {
                 const uint64_t last = kGlobalBytes / sizeof(float) - 3;
                 BreaksHere();
                 DataCopyPad(result, Input<float>()[last], {1, broken ? 16 : 12, 0, 0, 0}, {});
               });
  BreaksVector("a write to an input", Check::kGlobalBounds,
               [](bool broken, const auto &source, const auto &) {
                 BreaksHere();
                 DataCopy(broken ? Input<float>() : Output<float>(), source, 8);
               });
  BreaksVector("an address that belongs to no tensor", Check::kGlobalBounds,
               [](bool broken, const auto &, const auto &result) {
                 static std::array<float, 8> elsewhere{};
                 GlobalTensor<float> tensor = Input<float>();
                 if (broken) {
                   tensor.SetGlobalBuffer(elsewhere.data(), 8);
                 }
                 BreaksHere();
                 DataCopy(result, tensor, 8);
               });
  BreaksVector("a value beyond a tensor", Check::kGlobalBounds, [](bool broken, const auto &, const auto &) {
    BreaksHere();
    Input<int32_t>().GetValue(kGlobalBytes / 4 - (broken ? 0 : 1));
  });
}

void TestAlignment() {
  BreaksVector("an operand that is not on a block", Check::kAlignment,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result, source[broken ? 4 : 8], 1.0f, 64);
               });
  BreaksVector("a result that is not on a block", Check::kAlignment,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result[broken ? 1 : 0], source, 1.0f, 64);
               });
  BreaksVector("a copy to a place that is not on a block", Check::kAlignment,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopy(result[broken ? 4 : 8], Input<float>(), 8);
               });
  BreaksVector("a copy from a place that is not on a block", Check::kAlignment,
               [](bool broken, const auto &source, const auto &) {
                 BreaksHere();
                 DataCopyPad(Output<float>(), source[broken ? 4 : 8], {1, 4, 0, 0, 0});
               });
  BreaksCube("fractals that are not on 512 bytes", Check::kAlignment, [](bool broken, CubeBuffers &buffers) {
    BreaksHere();
    LoadData(buffers.l0a.Get<half>()[broken ? 16 : 256], buffers.l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
  });
}

void TestCopyRanges() {
  BreaksVector("a copy that is no multiple of 32 bytes", Check::kCopyRange,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopy(result, Input<float>(), broken ? 9 : 8);
               });
  BreaksVector("more bursts than a copy counts", Check::kCopyRange,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopyPad(result, Input<float>(), {broken ? 4096 : 1, 4, 0, 0, 0}, {});
               });
  BreaksVector("a burst of no blocks", Check::kCopyRange, [](bool broken, const auto &, const auto &result) {
    BreaksHere();
    DataCopy(result, Input<float>(), DataCopyParams(1, broken ? 0 : 1, 0, 0));
  });
  BreaksVector("a gap that does not fit", Check::kCopyRange,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopy(result, Input<float>(), DataCopyParams(1, 1, broken ? 65536 : 65535, 0));
               });
  BreaksVector("a burst of a part of an element", Check::kCopyRange,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopyPad(result, Input<float>(), {1, broken ? 6 : 8, 0, 0, 0}, {});
               });
  BreaksVector("more padding than a block", Check::kCopyRange,
               [](bool broken, const auto &, const auto &result) {
                 BreaksHere();
                 DataCopyPad(result, Input<float>(), {1, 4, 0, 0, 0}, {true, 0, broken ? 9 : 7, 0.0f});
               });
  BreaksCube("rows too far apart for Nd2Nz", Check::kCopyRange, [](bool broken, CubeBuffers &buffers) {
    BreaksHere();
    DataCopy(buffers.l1.Get<half>(), Input<half>(),
             Nd2NzParams(1, 1, 16, 0, broken ? 65536 : 65535, 1, 1, 0));
  });
}

void TestVectorRanges() {
  BreaksVector("256 repeats", Check::kVectorRange, [](bool broken, const auto &source, const auto &result) {
    BreaksHere();
    Adds(result, source, 1.0f, 8, broken ? 256 : 255, {1, 1, 0, 0});
  });
  BreaksVector("a mask beyond a repeat", Check::kVectorRange,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result, source, 1.0f, broken ? 65 : 64, 1, {1, 1, 8, 8});
               });
  BreaksVector("a mask without lanes", Check::kVectorRange,
               [](bool broken, const auto &source, const auto &result) {
                 const uint64_t lanes = broken ? 0 : 1;
                 BreaksHere();
                 Adds(result, source, 1.0f, lanes, 1, {1, 1, 8, 8});
               });
  BreaksVector("bits of lanes beyond a repeat", Check::kVectorRange,
               [](bool broken, const auto &source, const auto &result) {
                 const uint64_t bits[2] = {1, broken ? 1u : 0u};
                 BreaksHere();
                 Adds(result, source, 1.0f, bits, 1, {1, 1, 8, 8});
               });
  BreaksVector("a stride that does not fit", Check::kVectorRange,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result, source, 1.0f, 64, 1, {1, 1, broken ? 256 : 255, 8});
               });
  Breaks("a mask beyond a repeat of halves", Check::kVectorRange, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    TBuf<> buffer;
    pipe.InitBuffer(buffer, kBytes);
    const auto source = Loaded<half>(buffer, kCount);
    BreaksHere();
    Adds(source, source, half(1), broken ? 129 : 128, 1, {1, 1, 8, 8});
  });
}

void TestCubeRanges() {
  const auto load = [](CubeBuffers &buffers) {
    InitConstValue(buffers.l1.Get<half>(), {1, 256, 0, half(1)});
    Settle();
    LoadData(buffers.l0a.Get<half>(), buffers.l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
    LoadData(buffers.l0b.Get<half>(), buffers.l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
    Settle();
  };
  BreaksCube("a product without depth", Check::kCubeRange, [&](bool broken, CubeBuffers &buffers) {
    load(buffers);
    BreaksHere();
    Mmad(buffers.l0c.Get<float>(), buffers.l0a.Get<half>(), buffers.l0b.Get<half>(),
         {16, 16, broken ? 0 : 16, 0, false, true});
  });
  BreaksCube("operands of a product in each other's memory", Check::kCubeRange,
             [&](bool broken, CubeBuffers &buffers) {
               load(buffers);
               const auto left = broken ? buffers.l0b.Get<half>() : buffers.l0a.Get<half>();
               BreaksHere();
               Mmad(buffers.l0c.Get<float>(), left, buffers.l0b.Get<half>(), {16, 16, 16, 0, false, true});
             });
  BreaksCube("more fractals than LoadData counts", Check::kCubeRange, [](bool broken, CubeBuffers &buffers) {
    BreaksHere();
    LoadData(buffers.l0a.Get<half>(), buffers.l1.Get<half>(), {0, broken ? 256 : 16, 0, 0, 0, false, 0});
  });
  BreaksCube("rows of a result without a pitch", Check::kCubeRange, [&](bool broken, CubeBuffers &buffers) {
    load(buffers);
    Mmad(buffers.l0c.Get<float>(), buffers.l0a.Get<half>(), buffers.l0b.Get<half>(),
         {16, 16, 16, 0, false, true});
    Settle();
    BreaksHere();
    Fixpipe(Output<float>(), buffers.l0c.Get<float>(), {16, 16, 16, broken ? 0 : 16, false});
  });
}

void TestCasts() {
  BreaksVector("a rounding mode that a conversion lacks", Check::kCastMode,
               [](bool broken, const auto &source, const auto &result) {
                 const auto mode = broken ? RoundMode::CAST_RINT : RoundMode::CAST_NONE;
                 BreaksHere();
                 Cast(result, source.template ReinterpretCast<half>(), mode, 64);
               });
  BreaksVector("float to bfloat16 without a rounding mode", Check::kCastMode,
               [](bool broken, const auto &source, const auto &result) {
                 const auto mode = broken ? RoundMode::CAST_NONE : RoundMode::CAST_RINT;
                 BreaksHere();
                 Cast(result.template ReinterpretCast<bfloat16_t>(), source, mode, 64);
               });
}

void TestOverlap() {
  BreaksVector("operands that overlap in part", Check::kOverlap,
               [](bool broken, const auto &source, const auto &) {
                 BreaksHere();
                 Adds(source[broken ? 8 : 0], source, 1.0f, 64, 1, {1, 1, 8, 8});
               });
  BreaksVector("a repeat that reads what an earlier one wrote", Check::kOverlap,
               [](bool broken, const auto &source, const auto &) {
                 BreaksHere();
                 Add(source, source, source[128], 64, 2, {1, 1, 1, broken ? 0 : 8, broken ? 0 : 8, 8});
               });
  BreaksVector("a copy onto itself", Check::kOverlap,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 DataCopy(broken ? source[8] : result[8], source, 16);
               });
}

void TestUnwritten() {
  BreaksVector("a read of what nothing has written", Check::kUnwritten,
               [](bool broken, const auto &source, const auto &result) {
                 BreaksHere();
                 Adds(result, broken ? result[64] : source, 1.0f, 64);
               });
  BreaksVector("a read of lanes that a mask left out", Check::kUnwritten,
               [](bool broken, const auto &source, const auto &result) {
                 Adds(result, source, 1.0f, broken ? 63 : 64, 1, {1, 1, 8, 8});
                 Settle();
                 BreaksHere();
                 Muls(result[64], result, 2.0f, 64);
               });
  BreaksVector("a read of the workspace before anything is written", Check::kUnwritten,
               [](bool broken, const auto &source, const auto &result) {
                 if (!broken) {
                   DataCopy(Workspace<float>(), source, 8);
                   Settle();
                 }
                 BreaksHere();
                 DataCopy(result, Workspace<float>(), 8);
               });
  BreaksCube("a product added to nothing", Check::kUnwritten, [](bool broken, CubeBuffers &buffers) {
    InitConstValue(buffers.l1.Get<half>(), {1, 256, 0, half(1)});
    Settle();
    LoadData(buffers.l0a.Get<half>(), buffers.l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
    LoadData(buffers.l0b.Get<half>(), buffers.l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
    Settle();
    const MmadParams params(16, 16, 16, 0, false, !broken);
    BreaksHere();
    Mmad(buffers.l0c.Get<float>(), buffers.l0a.Get<half>(), buffers.l0b.Get<half>(), params);
  });
  BreaksCube("a product with rows that Nd2Nz left out", Check::kUnwritten,
             [](bool broken, CubeBuffers &buffers) {
               InitConstValue(buffers.l1.Get<half>(), {1, 16, 0, half(1)});
               DataCopy(buffers.l1.Get<half>()[256], Input<half>(),
                        Nd2NzParams(1, broken ? 15 : 16, 16, 0, 16, 16, 1, 0));
               Settle();
               LoadData(buffers.l0a.Get<half>(), buffers.l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
               LoadData(buffers.l0b.Get<half>(), buffers.l1.Get<half>()[256], {0, 1, 1, 0, 0, true, 0});
               Settle();
               BreaksHere();
               Mmad(buffers.l0c.Get<float>(), buffers.l0a.Get<half>(), buffers.l0b.Get<half>(),
                    {16, 16, 16, 0, false, true});
             });
}

}  // namespace

void TestLimits() {
  TestBuffers();
  TestGlobalBounds();
  TestAlignment();
  TestCopyRanges();
  TestVectorRanges();
  TestCubeRanges();
  TestCasts();
  TestOverlap();
  TestUnwritten();
}

}  // namespace ifa::sim::test
