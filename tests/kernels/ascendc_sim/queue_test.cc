// Flags between pipes, and the queues that are made of them.
#include "sim/finding.h"
#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

using InQueue = TQue<TPosition::VECIN, 1>;

// Kernels with a queue of two buffers for copies in.
void BreaksQueue(const std::string &name, const std::function<void(bool, InQueue &)> &kernel) {
  Breaks(name, Check::kQueue, OneVectorCore(), [&](bool broken) {
    TPipe pipe;
    InQueue queue;
    pipe.InitBuffer(queue, 2, 64);
    kernel(broken, queue);
  });
}

void TestFlags() {
  Breaks("a flag set twice", Check::kFlagSetTwice, OneVectorCore(), [](bool broken) {
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    if (!broken) {
      WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    }
    BreaksHere();
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  });
  Breaks("a flag that nobody sets", Check::kFlagInVain, OneVectorCore(), [](bool broken) {
    SetFlag<HardEvent::V_MTE3>(EVENT_ID1);
    BreaksHere();
    WaitFlag<HardEvent::V_MTE3>(broken ? EVENT_ID2 : EVENT_ID1);
  });
  Breaks("a flag of another pair of pipes", Check::kFlagInVain, OneVectorCore(), [](bool broken) {
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    if (broken) {
      BreaksHere();
      WaitFlag<HardEvent::MTE3_V>(EVENT_ID0);
    }
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  });
  Breaks("a flag that is left set", Check::kFlagLeftSet, OneVectorCore(), [](bool broken) {
    BreaksHere();
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    if (!broken) {
      WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    }
  });
  Breaks("a ninth flag", Check::kFlagInVain, OneVectorCore(), [](bool broken) {
    const int id = broken ? 8 : 7;
    BreaksHere();
    SetFlag<HardEvent::V_MTE3>(id);
    WaitFlag<HardEvent::V_MTE3>(id);
  });
}

void TestTurns() {
  BreaksQueue("a tensor from a queue without a free buffer", [](bool broken, InQueue &queue) {
    auto first = queue.AllocTensor<float>();
    auto second = queue.AllocTensor<float>();
    if (!broken) {
      queue.EnQue(first);
      auto taken = queue.DeQue<float>();
      queue.FreeTensor(taken);
    }
    BreaksHere();
    auto third = queue.AllocTensor<float>();
    for (auto tensor : {second, third}) {
      queue.EnQue(tensor);
      auto taken = queue.DeQue<float>();
      queue.FreeTensor(taken);
    }
  });
  BreaksQueue("a queue deeper than it is", [](bool broken, InQueue &queue) {
    auto first = queue.AllocTensor<float>();
    auto second = queue.AllocTensor<float>();
    queue.EnQue(first);
    if (!broken) {
      first = queue.DeQue<float>();
      queue.FreeTensor(first);
    }
    BreaksHere();
    queue.EnQue(second);
    second = queue.DeQue<float>();
    queue.FreeTensor(second);
  });
  BreaksQueue("a tensor enqueued twice", [](bool broken, InQueue &queue) {
    auto tensor = queue.AllocTensor<float>();
    queue.EnQue(tensor);
    if (broken) {
      BreaksHere();
      queue.EnQue(tensor);
    }
    tensor = queue.DeQue<float>();
    queue.FreeTensor(tensor);
  });
  BreaksQueue("a tensor from an empty queue", [](bool broken, InQueue &queue) {
    if (!broken) {
      queue.EnQue(queue.AllocTensor<float>());
    }
    BreaksHere();
    auto tensor = queue.DeQue<float>();
    queue.FreeTensor(tensor);
  });
  BreaksQueue("a tensor freed before it is dequeued", [](bool broken, InQueue &queue) {
    auto tensor = queue.AllocTensor<float>();
    if (!broken) {
      queue.EnQue(tensor);
      tensor = queue.DeQue<float>();
    }
    BreaksHere();
    queue.FreeTensor(tensor);
  });
  BreaksQueue("a tensor that is never freed", [](bool broken, InQueue &queue) {
    queue.EnQue(queue.AllocTensor<float>());
    BreaksHere();
    auto tensor = queue.DeQue<float>();
    if (!broken) {
      queue.FreeTensor(tensor);
    }
  });
}

void TestUse() {
  BreaksQueue("a tensor used after it is freed", [](bool broken, InQueue &queue) {
    auto tensor = queue.AllocTensor<float>();
    DataCopy(tensor, Input<float>(), 8);
    queue.EnQue(tensor);
    auto taken = queue.DeQue<float>();
    if (broken) {
      queue.FreeTensor(taken);
    }
    BreaksHere();
    Adds(taken, taken, 1.0f, 8);
    queue.FreeTensor(taken);
  });
  BreaksQueue("a tensor used while it is in the queue", [](bool broken, InQueue &queue) {
    auto tensor = queue.AllocTensor<float>();
    if (broken) {
      queue.EnQue(tensor);
    }
    BreaksHere();
    DataCopy(tensor, Input<float>(), 8);
    queue.EnQue(tensor);
    tensor = queue.DeQue<float>();
    queue.FreeTensor(tensor);
  });
  Breaks("a tensor given to another queue", Check::kQueue, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    InQueue queue, other;
    pipe.InitBuffer(queue, 1, 64);
    pipe.InitBuffer(other, 1, 64);
    auto tensor = queue.AllocTensor<float>();
    BreaksHere();
    (broken ? other : queue).EnQue(tensor);
    tensor = queue.DeQue<float>();
    queue.FreeTensor(tensor);
  });
  Breaks("a second TPipe", Check::kQueue, OneVectorCore(), [](bool broken) {
    auto first = std::make_unique<TPipe>();
    if (!broken) {
      first.reset();
    }
    BreaksHere();
    TPipe second;
  });
  // Every buffer in flight takes one of the 8 flags of an event.
  Breaks("more buffers in flight than flags", Check::kQueue, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    TQue<TPosition::VECIN, 9> queue;
    pipe.InitBuffer(queue, 9, 32);
    const int in_flight = broken ? 9 : 8;
    for (int i = 0; i < in_flight; ++i) {
      auto tensor = queue.AllocTensor<float>();
      BreaksHere();
      queue.EnQue(tensor);
    }
    for (int i = 0; i < in_flight; ++i) {
      auto tensor = queue.DeQue<float>();
      queue.FreeTensor(tensor);
    }
  });
  // A queue puts its copies and calculations in order, in both directions; two buffers are used in turn.
  Breaks("a queue without its flags", Check::kOrder, OneVectorCore(), [](bool broken) {
    TPipe pipe;
    InQueue queue;
    TQue<TPosition::VECOUT, 1> results;
    pipe.InitBuffer(queue, 2, 32);
    pipe.InitBuffer(results, 2, 32);
    for (int i = 0; i < 5; ++i) {
      auto tensor = queue.AllocTensor<float>();
      DataCopy(tensor, Input<float>()[8 * i], 8);
      if (!broken) {
        queue.EnQue(tensor);
        tensor = queue.DeQue<float>();
      }
      auto result = results.AllocTensor<float>();
      BreaksHere();
      Adds(result, tensor, 1.0f, 8);
      queue.FreeTensor(tensor);
      results.EnQue(result);
      result = results.DeQue<float>();
      DataCopy(Output<float>()[8 * i], result, 8);
      results.FreeTensor(result);
    }
  });
}

}  // namespace

void TestQueues() {
  TestFlags();
  TestTurns();
  TestUse();
}

}  // namespace ifa::sim::test
