// What copies move, element by element.
#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

void TestPlainCopies() {
  Gives<float>("a copy in and out", Numbers<float>(64, [](size_t i) { return i + 8; }), [](TPipe &pipe) {
    TBuf<> buffer;
    pipe.InitBuffer(buffer, 256);
    const auto tensor = buffer.Get<float>();
    DataCopy(tensor, Input<float>()[8], 64);
    Settle();
    DataCopy(Output<float>(), tensor, 64);
  });
  // Bursts of 2 blocks with 3 between them in, 1 between them in the buffer, and 0 out.
  Gives<float>("bursts with gaps", Numbers<float>(64, [](size_t i) { return i / 16 * 40 + i % 16; }),
               [](TPipe &pipe) {
                 TBuf<> buffer;
                 pipe.InitBuffer(buffer, 512);
                 const auto tensor = buffer.Get<float>();
                 DataCopy(tensor, Input<float>(), DataCopyParams(4, 2, 3, 1));
                 Settle();
                 DataCopy(Output<float>(), tensor, DataCopyParams(4, 2, 1, 0));
               });
  Gives<float>("a copy within the unified buffer",
               Numbers<float>(32, [](size_t i) { return i / 8 * 16 + i % 8; }), [](TPipe &pipe) {
                 TBuf<> buffer, other;
                 pipe.InitBuffer(buffer, 256);
                 pipe.InitBuffer(other, 128);
                 const auto tensor = Loaded<float>(buffer, 64);
                 DataCopy(other.Get<float>(), tensor, DataCopyParams(4, 1, 1, 0));
                 Settle();
                 DataCopy(Output<float>(), other.Get<float>(), 32);
               });
}

// Bursts of 5 elements, 7 elements apart; each on a block of its own.
void TestPaddedCopies() {
  const auto padded = [](const DataCopyPadExtParams<float> &pad) {
    return [pad](TPipe &pipe) {
      TBuf<> buffer;
      pipe.InitBuffer(buffer, 96);
      const auto tensor = buffer.Get<float>();
      DataCopyPad(tensor, Input<float>(), {3, 20, 8, 0, 0}, pad);
      Settle();
      DataCopy(Output<float>(), tensor, 24);
    };
  };
  const auto number = [](size_t i) { return Number<float>(i); };
  std::vector<float> first(24), filled(24);
  for (size_t i = 0; i < 24; ++i) {
    const size_t burst = i / 8 * 7;
    first[i] = i % 8 < 5 ? number(burst + i % 8) : number(burst);
    filled[i] = i % 8 == 0 || i % 8 > 5 ? -1.5f : number(burst + i % 8 - 1);
  }
  Gives<float>("tails filled with the first element", first, padded({}));
  Gives<float>("tails filled with a value", filled, padded({true, 1, 2, -1.5f}));
  // Out again, only the bytes of the bursts: 5 elements of every block, 6 apart.
  std::vector<float> out(17);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = BitCast<float>(0xeeeeeeeeu);
    out[i] = i % 6 < 5 ? number(i / 6 * 8 + i % 6) : out[i];
  }
  Gives<float>("bursts that end within a block, out", out, [](TPipe &pipe) {
    TBuf<> buffer;
    pipe.InitBuffer(buffer, 96);
    DataCopyPad(Output<float>(), Loaded<float>(buffer, 24), {3, 20, 0, 4, 0});
  });
}

void TestScalarAccess() {
  Gives<float>("values read and set", {Number<float>(3), 2.5f, Number<float>(9)}, [](TPipe &pipe) {
    TBuf<> buffer;
    pipe.InitBuffer(buffer, 64);
    const auto tensor = Loaded<float>(buffer, 16);
    tensor.SetValue(0, tensor.GetValue(3));
    tensor.SetValue(1, 2.5f);
    tensor[2].SetValue(0, Input<float>()[4].GetValue(5));
    Settle();
    DataCopyPad(Output<float>(), tensor, {1, 12, 0, 0, 0});
  });
  Gives<float, uint16_t>("a tensor as another type",
                         {static_cast<uint16_t>(BitCast<uint32_t>(Number<float>(1))),
                          static_cast<uint16_t>(BitCast<uint32_t>(Number<float>(1)) >> 16)},
                         [](TPipe &pipe) {
                           TBuf<> buffer;
                           pipe.InitBuffer(buffer, 64);
                           const auto tensor = Loaded<float>(buffer, 16);
                           const auto words = tensor.ReinterpretCast<uint16_t>();
                           words.SetValue(0, words.GetValue(2));
                           words.SetValue(1, words.GetValue(3));
                           Settle();
                           DataCopy(Output<uint16_t>(), words, 16);
                         });
}

// 20 rows of 40 columns out of a matrix with rows of 48; the last group of 16 columns is half zeros. Through
// L0 and out of a product with the identity matrix, each column of which is an element of its row in the
// result.
void TestNdToNz() {
  constexpr uint32_t kRows = 32;
  constexpr uint32_t kColumns = 40;
  constexpr uint32_t kPadded = 48;
  LaunchOptions options = OneVectorCore();
  options.type = KernelType::kMixAic1_0;
  Tensors tensors;
  tensors.Fill<half>();
  // The identity, behind the matrix.
  for (uint32_t i = 0; i < 16 * 16; ++i) {
    const half value = i / 16 == i % 16 ? 1.0f : 0.0f;
    std::memcpy(tensors.input.data() + kGlobalBytes / 2 + i * sizeof(half), &value, sizeof(value));
  }
  Run(tensors, options, [] {
    TPipe pipe;
    TBuf<TPosition::A1> l1;
    TBuf<TPosition::A2> l0a;
    TBuf<TPosition::B2> l0b;
    TBuf<TPosition::CO1> l0c;
    pipe.InitBuffer(l1, kRows * kPadded * 2 + 512);
    pipe.InitBuffer(l0a, kRows * 32);
    pipe.InitBuffer(l0b, 512);
    pipe.InitBuffer(l0c, kRows * 64);
    const auto matrix = l1.Get<half>();
    const auto identity = matrix[kRows * kPadded];
    DataCopy(matrix, Input<half>(), Nd2NzParams(1, kRows, kColumns, 0, 48, kRows, 1, 0));
    DataCopy(identity, Input<half>()[kGlobalBytes / 4], Nd2NzParams(1, 16, 16, 0, 16, 16, 1, 0));
    Settle();
    LoadData(l0b.Get<half>(), identity, {0, 1, 1, 0, 0, false, 0});
    for (uint32_t column = 0; column < kPadded; column += 16) {
      Settle();
      LoadData(l0a.Get<half>(), matrix[column * kRows], {0, kRows / 16, 1, 0, 0, false, 0});
      Settle();
      Mmad(l0c.Get<float>(), l0a.Get<half>(), l0b.Get<half>(), {kRows, 16, 16, 0, false, true});
      Settle();
      Fixpipe(Output<float>()[column], l0c.Get<float>(), {16, kRows, kRows, kPadded, false});
    }
  });
  const auto got = tensors.Output<float>(kRows * kPadded);
  std::string problem;
  for (uint32_t i = 0; i < got.size() && problem.empty(); ++i) {
    const uint32_t column = i % kPadded;
    const float expected =
        column < kColumns ? static_cast<float>(Number<half>(i / kPadded * 48 + column)) : 0;
    problem = got[i] == expected ? "" : "element " + std::to_string(i);
  }
  Report("Nd2Nz", problem);
}

}  // namespace

void TestCopies() {
  TestPlainCopies();
  TestPaddedCopies();
  TestScalarAccess();
  TestNdToNz();
}

}  // namespace ifa::sim::test
