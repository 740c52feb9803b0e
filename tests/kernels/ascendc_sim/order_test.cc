// Accesses to the same memory by two pipes, or two instructions of one, that nothing puts in order.
#include "sim/finding.h"
#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

constexpr uint32_t kCount = 64;
constexpr uint32_t kBytes = kCount * sizeof(float);

template <HardEvent event>
void Order() {
  SetFlag<event>(EVENT_ID0);
  WaitFlag<event>(EVENT_ID0);
}

// Kernels with three buffers of kCount floats, the first two from the input.
void BreaksVector(const std::string &name,
                  const std::function<void(bool, std::array<LocalTensor<float>, 3>)> &kernel) {
  Breaks(name, Check::kOrder, OneVectorCore(), [&](bool broken) {
    TPipe pipe;
    TBuf<> buffers[3];
    for (auto &buffer : buffers) {
      pipe.InitBuffer(buffer, kBytes);
    }
    kernel(broken,
           {Loaded<float>(buffers[0], kCount), Loaded<float>(buffers[1], kCount), buffers[2].Get<float>()});
  });
}

void TestWithinVectorUnit() {
  BreaksVector("a read after a write in the vector unit", [](bool broken, const auto &x) {
    Adds(x[1], x[0], 1.0f, kCount);
    if (!broken) {
      PipeBarrier<PIPE_V>();
    }
    BreaksHere();
    Adds(x[2], x[1], 1.0f, kCount);
  });
  BreaksVector("a write after a read in the vector unit", [](bool broken, const auto &x) {
    Adds(x[2], x[1], 1.0f, kCount);
    if (!broken) {
      PipeBarrier<PIPE_V>();
    }
    BreaksHere();
    Adds(x[1], x[0], 1.0f, kCount);
  });
  BreaksVector("two writes in the vector unit", [](bool broken, const auto &x) {
    Adds(x[2], x[1], 1.0f, kCount);
    if (!broken) {
      PipeBarrier<PIPE_V>();
    }
    BreaksHere();
    Adds(x[2], x[0], 1.0f, kCount);
  });
  BreaksVector("a barrier of another pipe", [](bool broken, const auto &x) {
    Adds(x[1], x[0], 1.0f, kCount);
    if (broken) {
      PipeBarrier<PIPE_MTE2>();
    } else {
      PipeBarrier<PIPE_V>();
    }
    BreaksHere();
    Adds(x[2], x[1], 1.0f, kCount);
  });
  // Neighbours in a block of 32 bytes that no byte has in common need no order.
  BreaksVector("two results in one block", [](bool broken, const auto &x) {
    WholeReduceSum(x[2], x[0], 64, 1, 1, 1, 8);
    BreaksHere();
    WholeReduceSum(x[2][broken ? 0 : 1], x[1], 64, 1, 1, 1, 8);
  });
}

void TestBetweenPipes() {
  BreaksVector("a copy in, then a calculation", [](bool broken, const auto &x) {
    DataCopy(x[1], Input<float>(), kCount);
    if (!broken) {
      Order<HardEvent::MTE2_V>();
    }
    BreaksHere();
    Adds(x[2], x[1], 1.0f, kCount);
  });
  BreaksVector("a calculation, then a copy in over its operand", [](bool broken, const auto &x) {
    Adds(x[2], x[1], 1.0f, kCount);
    if (!broken) {
      Order<HardEvent::V_MTE2>();
    }
    BreaksHere();
    DataCopy(x[1], Input<float>(), kCount);
  });
  BreaksVector("a calculation, then a copy out", [](bool broken, const auto &x) {
    Adds(x[2], x[1], 1.0f, kCount);
    if (!broken) {
      Order<HardEvent::V_MTE3>();
    }
    BreaksHere();
    DataCopy(Output<float>(), x[2], kCount);
  });
  BreaksVector("a copy out, then a calculation over its source", [](bool broken, const auto &x) {
    DataCopy(Output<float>(), x[1], kCount);
    if (!broken) {
      Order<HardEvent::MTE3_V>();
    }
    BreaksHere();
    Adds(x[1], x[0], 1.0f, kCount);
  });
  BreaksVector("a copy out to global memory, then a copy in from there", [](bool broken, const auto &x) {
    DataCopy(Workspace<float>(), x[0], kCount);
    if (!broken) {
      Order<HardEvent::MTE3_MTE2>();
    }
    BreaksHere();
    DataCopy(x[2], Workspace<float>(), kCount);
  });
  BreaksVector("a flag that was set before the work", [](bool broken, const auto &x) {
    if (broken) {
      SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    }
    DataCopy(x[1], Input<float>(), kCount);
    if (!broken) {
      SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    }
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    BreaksHere();
    Adds(x[2], x[1], 1.0f, kCount);
  });
  BreaksVector("order through a third pipe", [](bool broken, const auto &x) {
    DataCopy(x[1], Input<float>(), kCount);
    if (!broken) {
      Order<HardEvent::MTE2_V>();
    }
    Order<HardEvent::V_MTE3>();
    BreaksHere();
    DataCopy(Output<float>(), x[1], kCount);
  });
}

void TestScalarUnit() {
  BreaksVector("a calculation, then a value", [](bool broken, const auto &x) {
    Adds(x[2], x[1], 1.0f, kCount);
    if (!broken) {
      Order<HardEvent::V_S>();
    }
    BreaksHere();
    x[2].GetValue(0);
  });
  BreaksVector("a value set, then a calculation", [](bool broken, const auto &x) {
    x[1].SetValue(0, 1.0f);
    if (!broken) {
      Order<HardEvent::S_V>();
    }
    BreaksHere();
    Adds(x[2], x[1], 1.0f, kCount);
  });
  // What the scalar unit waited for precedes all that it issues later.
  BreaksVector("a wait of the scalar unit", [](bool broken, const auto &x) {
    DataCopy(x[1], Input<float>(), kCount);
    if (!broken) {
      Order<HardEvent::MTE2_S>();
    }
    BreaksHere();
    Adds(x[2], x[1], 1.0f, kCount);
  });
}

void BreaksCube(const std::string &name, const std::function<void(bool, TPipe &)> &kernel) {
  LaunchOptions options = OneVectorCore();
  options.type = KernelType::kMixAic1_0;
  Breaks(name, Check::kOrder, options, [&](bool broken) {
    TPipe pipe;
    kernel(broken, pipe);
  });
}

void TestCubeUnit() {
  const auto product = [](int step, bool broken) {
    return [step, broken](TPipe &pipe) {
      TBuf<TPosition::A1> l1;
      TBuf<TPosition::A2> l0a;
      TBuf<TPosition::B2> l0b;
      TBuf<TPosition::CO1> l0c;
      pipe.InitBuffer(l1, 512);
      pipe.InitBuffer(l0a, 512);
      pipe.InitBuffer(l0b, 512);
      pipe.InitBuffer(l0c, 1024);
      const auto settle = [&](int at) {
        if (!broken || at != step) {
          Settle();
        }
      };
      const auto expect = [step](int at, int line = __builtin_LINE()) {
        if (at == step) {
          BreaksHere(line);
        }
      };
      DataCopy(l1.Get<half>(), Input<half>(), Nd2NzParams(1, 16, 16, 0, 16, 16, 1, 0));
      settle(0);
      expect(0);
      LoadData(l0a.Get<half>(), l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
      LoadData(l0b.Get<half>(), l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
      settle(1);
      expect(1);
      Mmad(l0c.Get<float>(), l0a.Get<half>(), l0b.Get<half>(), {16, 16, 16, 0, false, true});
      settle(2);
      expect(2);
      Mmad(l0c.Get<float>(), l0a.Get<half>(), l0b.Get<half>(), {16, 16, 16, 0, false, false});
      settle(3);
      expect(3);
      Fixpipe(Output<float>(), l0c.Get<float>(), {16, 16, 16, 16, false});
      settle(4);
      expect(4);
      Mmad(l0c.Get<float>(), l0a.Get<half>(), l0b.Get<half>(), {16, 16, 16, 0, false, true});
    };
  };
  constexpr const char *kSteps[] = {"a copy into L1, then a load", "a load, then a product",
                                    "a product, then one that adds to it", "a product, then Fixpipe",
                                    "Fixpipe, then a product over its source"};
  for (int step = 0; step < 5; ++step) {
    BreaksCube(kSteps[step], [&](bool broken, TPipe &pipe) { product(step, broken)(pipe); });
  }
}

}  // namespace

void TestOrder() {
  TestWithinVectorUnit();
  TestBetweenPipes();
  TestScalarUnit();
  TestCubeUnit();
}

}  // namespace ifa::sim::test
