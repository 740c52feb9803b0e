// Several cores: what each kind of core has, flags between them, and order through global memory.
#include "sim/finding.h"
#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

constexpr uint32_t kCount = 64;

LaunchOptions VectorCores(uint32_t blocks) {
  LaunchOptions options = OneVectorCore();
  options.blocks = blocks;
  return options;
}

void TestKinds() {
  Breaks("a calculation of a cube core", Check::kWrongCore, OneGroup(), [](bool broken) {
    if (ASCEND_IS_AIC && broken) {
      BreaksHere();
      Duplicate(LocalTensor<float>(), 1.0f, 8);
    }
  });
  Breaks("a product of a vector core", Check::kWrongCore, OneVectorCore(), [](bool broken) {
    if (broken) {
      BreaksHere();
      Mmad(LocalTensor<float>(), LocalTensor<half>(), LocalTensor<half>(), {16, 16, 16, 0, false, true});
    }
  });
  Breaks("L1 on a vector core", Check::kWrongCore, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    TBuf<TPosition::A1> l1;
    TBuf<> ub;
    if (broken) {
      BreaksHere();
      pipe.InitBuffer(l1, 32);
    }
    pipe.InitBuffer(ub, 32);
  });
  Breaks("a flag of a pipe that the core lacks", Check::kWrongCore, OneVectorCore(), [](bool broken) {
    if (broken) {
      BreaksHere();
      SetFlag<HardEvent::MTE1_M>(EVENT_ID0);
    }
  });
  Breaks("a barrier of a pipe that the core lacks", Check::kWrongCore, OneVectorCore(), [](bool broken) {
    if (broken) {
      BreaksHere();
      PipeBarrier<PIPE_M>();
    }
    PipeBarrier<PIPE_V>();
  });
  Breaks("DataCopyPad of a cube core", Check::kWrongCore, OneGroup(), [](bool broken) {
    if (ASCEND_IS_AIC && broken) {
      BreaksHere();
      DataCopyPad(LocalTensor<float>(), Input<float>(), {1, 4, 0, 0, 0}, {});
    }
  });
  Breaks("SyncAll of the vector cores on a cube core", Check::kWrongCore, OneGroup(), [](bool broken) {
    if (ASCEND_IS_AIV || broken) {
      BreaksHere();
      SyncAll();
    }
  });
  Breaks("a launch of another type", Check::kKernelType, OneGroup(), [](bool broken) {
    if (broken) {
      BreaksHere();
      KERNEL_TASK_TYPE(0, KERNEL_TYPE_MIX_AIV_1_0);
    }
    KERNEL_TASK_TYPE(0, KERNEL_TYPE_MIX_AIC_1_2);
  });
  for (const bool is_mixed : {false, true}) {
    LaunchOptions options = VectorCores(1);
    options.type = is_mixed ? KernelType::kMixAiv1_0 : KernelType::kAivOnly;
    Tensors tensors;
    std::string problem = is_mixed ? "" : "no finding";
    try {
      Run(tensors, options, [] { SyncAll(); });
    } catch (const Finding &finding) {
      problem = !is_mixed && finding.check() == Check::kKernelType ? "" : finding.what();
    }
    Report(is_mixed ? "SyncAll in a mixed kernel" : "SyncAll in a kernel of vector cores only", problem);
  }
}

// The numbers of the cores, as each of them sees them.
void TestNumbers() {
  LaunchOptions options = OneGroup();
  options.blocks = 3;
  options.tiling_key = 7;
  Tensors tensors;
  std::vector<std::string> seen;
  Run(tensors, options, [&seen] {
    seen.push_back((ASCEND_IS_AIC ? "cube " : "vector ") + std::to_string(GetBlockIdx()) + "/" +
                   std::to_string(GetBlockNum()) + "." + std::to_string(GetSubBlockIdx()) +
                   (TILING_KEY_IS(7) && !TILING_KEY_IS(6) ? "" : " with another key"));
  });
  const std::vector<std::string> expected = {"cube 0/3.0", "vector 0/3.0", "vector 1/3.1",
                                             "cube 1/3.0", "vector 2/3.0", "vector 3/3.1",
                                             "cube 2/3.0", "vector 4/3.0", "vector 5/3.1"};
  Report("the numbers of cores", seen == expected ? "" : "differ");
}

// Each core puts a row into the workspace and takes that of the next one.
void Pass(bool syncs) {
  TPipe pipe;
  TBuf<> buffer;
  pipe.InitBuffer(buffer, kCount * sizeof(float));
  const auto me = static_cast<uint32_t>(GetBlockIdx());
  const auto next = static_cast<uint32_t>((me + 1) % GetBlockNum());
  auto row = buffer.Get<float>();
  DataCopy(row, Input<float>()[me * kCount], kCount);
  Settle();
  DataCopy(Workspace<float>()[me * kCount], row, kCount);
  if (syncs) {
    SyncAll();
  } else {
    Settle();
  }
  DataCopy(row, Workspace<float>()[next * kCount], kCount);
  Settle();
  DataCopy(Output<float>()[me * kCount], row, kCount);
}

void TestSyncAll() {
  constexpr uint32_t kCores = 5;
  Tensors tensors;
  tensors.Fill<float>();
  Run(tensors, VectorCores(kCores), [] { Pass(true); });
  const auto rows = tensors.Output<float>(kCores * kCount);
  std::string problem;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != Number<float>((i + kCount) % rows.size())) {
      problem = "element " + std::to_string(i);
    }
  }
  Report("SyncAll", problem);
  // Without it the first core reads what the second has not written; the last one reads what the first wrote
  // earlier in this run, and has nothing that says so.
  Breaks("a row of another core, not written yet", Check::kUnwritten, VectorCores(2), [](bool broken) {
    if (!broken) {
      Pass(true);
      return;
    }
    TPipe pipe;
    TBuf<> buffer;
    pipe.InitBuffer(buffer, kCount * sizeof(float));
    BreaksHere();
    DataCopy(buffer.Get<float>(), Workspace<float>(), kCount);
  });
  Breaks("a row of another core, by chance written before", Check::kOrder, VectorCores(2), [](bool broken) {
    TPipe pipe;
    TBuf<> buffer;
    pipe.InitBuffer(buffer, kCount * sizeof(float));
    const auto row = Loaded<float>(buffer, kCount);
    if (GetBlockIdx() == 0) {
      DataCopy(Workspace<float>(), row, kCount);
    }
    if (!broken) {
      SyncAll();
    }
    if (GetBlockIdx() == 1) {
      BreaksHere();
      DataCopy(row, Workspace<float>(), kCount);
    }
  });
  // Neighbours in one block of 32 bytes do not meet.
  Breaks("two cores in one block", Check::kOrder, VectorCores(2), [](bool broken) {
    TPipe pipe;
    TBuf<> buffer;
    pipe.InitBuffer(buffer, kCount * sizeof(float));
    const auto row = Loaded<float>(buffer, kCount);
    const int64_t at = broken ? 0 : GetBlockIdx();
    BreaksHere();
    DataCopyPad(Output<float>()[at], row, {1, 4, 0, 0, 0});
  });
}

// The cube core multiplies what a vector core prepared, which then takes the product.
void Exchange(bool sets_after_fixpipe) {
  TPipe pipe;
  if (ASCEND_IS_AIC) {
    TBuf<TPosition::A1> l1;
    TBuf<TPosition::A2> l0a;
    TBuf<TPosition::B2> l0b;
    TBuf<TPosition::CO1> l0c;
    pipe.InitBuffer(l1, 512);
    pipe.InitBuffer(l0a, 512);
    pipe.InitBuffer(l0b, 512);
    pipe.InitBuffer(l0c, 1024);
    CrossCoreWaitFlag<2>(3);
    DataCopy(l1.Get<half>(), Workspace<half>(), Nd2NzParams(1, 16, 16, 0, 16, 16, 1, 0));
    Settle();
    LoadData(l0a.Get<half>(), l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
    LoadData(l0b.Get<half>(), l1.Get<half>(), {0, 1, 1, 0, 0, false, 0});
    Settle();
    Mmad(l0c.Get<float>(), l0a.Get<half>(), l0b.Get<half>(), {16, 16, 16, 0, false, true});
    Settle();
    if (!sets_after_fixpipe) {
      CrossCoreSetFlag<2, PIPE_FIX>(4);
    }
    Fixpipe(Workspace<float>()[256], l0c.Get<float>(), {16, 16, 16, 16, false});
    if (sets_after_fixpipe) {
      CrossCoreSetFlag<2, PIPE_FIX>(4);
    }
    return;
  }
  TBuf<> buffer;
  pipe.InitBuffer(buffer, 1024);
  const auto sub = static_cast<uint32_t>(GetSubBlockIdx());
  const auto ones = buffer.Get<half>();
  Duplicate(ones, half(1.0f), 128);
  Settle();
  DataCopy(Workspace<half>()[sub * 128], ones, 128);
  CrossCoreSetFlag<2, PIPE_MTE3>(3);
  CrossCoreWaitFlag<2>(4);
  const auto product = buffer.Get<float>()[128];
  BreaksHere();
  DataCopy(product, Workspace<float>()[256 + sub * 128], 128);
  Settle();
  DataCopy(Output<float>()[sub * 128], product, 128);
}

void TestGroups() {
  Tensors tensors;
  Run(tensors, OneGroup(), [] { Exchange(true); });
  const auto product = tensors.Output<float>(256);
  Report("a cube core and its vector cores",
         product == std::vector<float>(256, 16.0f) ? "" : "another product");
  Breaks("a flag between cores that is set too early", Check::kOrder, OneGroup(),
         [](bool broken) { Exchange(!broken); });
}

void TestCounters() {
  Breaks("a flag between cores that is left set", Check::kFlagLeftSet, OneGroup(), [](bool broken) {
    if (ASCEND_IS_AIC) {
      BreaksHere();
      CrossCoreSetFlag<2, PIPE_FIX>(1);
    } else if (!broken || GetSubBlockIdx() == 0) {
      CrossCoreWaitFlag<2>(1);
    }
  });
  Breaks("a flag that only one of two vector cores sets", Check::kDeadlock, OneGroup(), [](bool broken) {
    if (ASCEND_IS_AIC) {
      BreaksHere();
      CrossCoreWaitFlag<2>(1);
    } else if (!broken || GetSubBlockIdx() == 0) {
      CrossCoreSetFlag<2, PIPE_MTE3>(1);
    }
  });
  Breaks("cores that wait for each other", Check::kDeadlock, OneGroup(), [](bool broken) {
    if (ASCEND_IS_AIC) {
      if (!broken) {
        CrossCoreSetFlag<2, PIPE_FIX>(2);
      }
      BreaksHere();
      CrossCoreWaitFlag<2>(1);
      if (broken) {
        CrossCoreSetFlag<2, PIPE_FIX>(2);
      }
    } else {
      CrossCoreWaitFlag<2>(2);
      CrossCoreSetFlag<2, PIPE_MTE3>(1);
    }
  });
  Breaks("a flag set 16 times", Check::kFlagCounter, OneGroup(), [](bool broken) {
    const int times = broken ? 16 : 15;
    for (int i = 0; i < times; ++i) {
      if (ASCEND_IS_AIC) {
        BreaksHere();
        CrossCoreSetFlag<2, PIPE_FIX>(1);
      } else {
        CrossCoreWaitFlag<2>(1);
      }
    }
  });
  Breaks("a flag of SyncAll", Check::kFlagInVain, VectorCores(2), [](bool broken) {
    const uint16_t flag = broken ? 12 : 10;
    BreaksHere();
    CrossCoreSetFlag<0, PIPE_MTE3>(flag);
    CrossCoreWaitFlag(flag);
  });
}

}  // namespace

void TestCores() {
  TestKinds();
  TestNumbers();
  TestSyncAll();
  TestGroups();
  TestCounters();
}

}  // namespace ifa::sim::test
