// What the cube unit calculates, against plain loops.
#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

// Sizes of a product, and whether the right operand comes transposed: as [k][n] in global memory instead of
// [n][k].
struct Product {
  uint32_t m, n, k;
  bool transposed;
};

uint32_t Padded(uint32_t size) { return (size + 15) / 16 * 16; }

// Copies a matrix of [rows][columns] with rows apart to L1, its rows padded to fractals of zeros.
template <typename T>
void CopyMatrix(const LocalTensor<T> &l1, uint64_t at, uint32_t rows, uint32_t columns) {
  InitConstValue(l1, {1, static_cast<int64_t>(Padded(rows)) * Padded(columns) * 2 / 32, 0, T(0)});
  PipeBarrier<PIPE_MTE2>();
  DataCopy(l1, Input<T>()[at], Nd2NzParams(1, rows, columns, 0, columns, Padded(rows), 1, 0));
}

// The left operand as fractals [m / 16][k / 16], out of L1's [k / 16][m / 16].
template <typename T>
void LoadLeft(const LocalTensor<T> &l0a, const LocalTensor<T> &l1, const Product &p) {
  const int64_t m1 = Padded(p.m) / 16;
  const int64_t k1 = Padded(p.k) / 16;
  if (p.m == 1) {  // a plain row
    for (int64_t k = 0; k < k1; ++k) {
      LoadData(l0a[k * 256], l1[k * 256], {0, 1, 1, 0, 0, false, 0});
    }
    return;
  }
  for (int64_t m = 0; m < m1; ++m) {
    LoadData(l0a[m * k1 * 256], l1, {m, k1, m1, 0, 0, false, 0});
  }
}

// The right operand as fractals [k / 16][n / 16] of [n][k].
template <typename T>
void LoadRight(const LocalTensor<T> &l0b, const LocalTensor<T> &l1, const Product &p) {
  const int64_t n1 = Padded(p.n) / 16;
  const int64_t k1 = Padded(p.k) / 16;
  if (!p.transposed) {  // L1 holds [k / 16][n / 16] already
    LoadData(l0b, l1, {0, n1 * k1, 1, 0, 0, false, 0});
    return;
  }
  for (int64_t k = 0; k < k1; ++k) {  // L1 holds [n / 16][k / 16]
    LoadData(l0b[k * n1 * 256], l1, {k, n1, k1, 0, 0, true, 0});
  }
}

template <typename T>
void GivesProduct(const std::string &name, const Product &p) {
  LaunchOptions options = OneVectorCore();
  options.type = KernelType::kMixAic1_0;
  const uint64_t right_at = uint64_t{p.m} * p.k;
  Tensors tensors;
  tensors.Fill<T>();
  Run(tensors, options, [&] {
    TPipe pipe;
    TBuf<TPosition::A1> left, right;
    TBuf<TPosition::A2> l0a;
    TBuf<TPosition::B2> l0b;
    TBuf<TPosition::CO1> l0c;
    pipe.InitBuffer(left, Padded(p.m) * Padded(p.k) * 2);
    pipe.InitBuffer(right, Padded(p.n) * Padded(p.k) * 2);
    pipe.InitBuffer(l0a, Padded(p.m) * Padded(p.k) * 2);
    pipe.InitBuffer(l0b, Padded(p.n) * Padded(p.k) * 2);
    pipe.InitBuffer(l0c, Padded(p.m) * Padded(p.n) * 4);
    CopyMatrix(left.Get<T>(), 0, p.m, p.k);
    CopyMatrix(right.Get<T>(), right_at, p.transposed ? p.k : p.n, p.transposed ? p.n : p.k);
    Settle();
    LoadLeft(l0a.Get<T>(), left.Get<T>(), p);
    LoadRight(l0b.Get<T>(), right.Get<T>(), p);
    Settle();
    Mmad(l0c.Get<float>(), l0a.Get<T>(), l0b.Get<T>(), {p.m, p.n, p.k, 0, false, true});
    Settle();
    Mmad(l0c.Get<float>(), l0a.Get<T>(), l0b.Get<T>(),
         {p.m, p.n, p.k, 0, false, false});  // twice the product
    Settle();
    FixpipeParamsV220 rows(p.n, p.m, Padded(p.m), p.n + 3, false);
    Fixpipe(Output<float>(), l0c.Get<float>(), rows);
  });
  const auto got = tensors.Output<float>(uint64_t{p.m} * (p.n + 3));
  std::string problem;
  for (uint32_t m = 0; m < p.m; ++m) {
    for (uint32_t n = 0; n < p.n; ++n) {
      float sum = 0;  // exact: the numbers are eighths, and few
      for (uint32_t k = 0; k < p.k; ++k) {
        const uint64_t index = right_at + (p.transposed ? uint64_t{k} * p.n + n : uint64_t{n} * p.k + k);
        sum +=
            2 * static_cast<float>(Number<T>(uint64_t{m} * p.k + k)) * static_cast<float>(Number<T>(index));
      }
      if (got[m * (p.n + 3) + n] != sum) {
        problem = "row " + std::to_string(m) + ", column " + std::to_string(n);
      }
    }
  }
  Report(name, problem);
}

}  // namespace

void TestCube() {
  GivesProduct<half>("a product of whole fractals", {32, 48, 64, false});
  GivesProduct<half>("a product with a transposed operand", {32, 48, 64, true});
  GivesProduct<half>("a product of odd sizes", {9, 21, 37, false});
  GivesProduct<half>("a product of odd sizes with a transposed operand", {9, 21, 37, true});
  GivesProduct<bfloat16_t>("a product of bfloat16", {16, 33, 80, true});
  GivesProduct<half>("a product of one row, which is no fractal", {1, 32, 16, false});
}

}  // namespace ifa::sim::test
