// One core: its memories, pipes, flags and buffers, and how an instruction uses them.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/clocks.h"
#include "sim/finding.h"
#include "sim/global_memory.h"
#include "sim/local_memory.h"

namespace AscendC {
class TPipe;
}

namespace ifa::sim {

class Machine;

enum class CoreKind : uint8_t { kCube, kVector };

struct Pipe {
  explicit Pipe(int cores) : clock(cores) {}

  Clock clock;               ///< what precedes the pipe's next instruction
  uint32_t issued = 0;       ///< the number of the last instruction
  double free = 0;           ///< when the pipe can take the next one
  double complete = 0;       ///< when all issued ones are complete
  double busy = 0;           ///< cycles
  uint32_t scalar_seen = 0;  ///< of the scalar unit's waits, those that `clock` holds

  struct Issued {
    const char *name = "";
    Site site;
  };
  static constexpr uint32_t kRemembered = 256;
  std::array<Issued, kRemembered> last;  ///< for reports, by number
};

struct Flag {
  Clock clock;
  Site site;
};

/// A buffer of a queue, or the whole of a TBuf.
struct Buffer {
  enum class State : uint8_t { kPlain, kFree, kAllocated, kEnqueued, kDequeued };

  Memory memory = Memory::kUb;
  uint32_t address = 0;
  uint32_t bytes = 0;
  State state = State::kPlain;
  int event = -1;  ///< of the flag that the last EnQue or FreeTensor set
  Site site;       ///< of the last change of state
};

/// Where a local tensor lies: `address` in `memory`, in a buffer that ends at `limit`.
struct LocalRange {
  Memory memory = Memory::kUb;
  uint32_t address = 0;
  uint32_t limit = 0;
  int buffer = -1;  ///< of its core's buffers
};

/// Where a global tensor lies: in `region`, or nowhere.
struct GlobalRange {
  GlobalRegion *region = nullptr;
  uint8_t *address = nullptr;
  uint8_t *limit = nullptr;  ///< the end that SetGlobalBuffer gave
};

class Core {
 public:
  Core(Machine &machine, CoreKind kind, int index, int block, int sub, int cores);

  /// The core that the calling thread runs.
  static Core &Current();

  Machine &machine() const { return machine_; }
  CoreKind kind() const { return kind_; }
  int index() const { return index_; }  ///< among all cores of the launch
  int block() const { return block_; }  ///< the group
  int sub() const { return sub_; }      ///< among the vector cores of the group
  std::string Name() const;             ///< for example "AIV 3"

  LocalMemory &memory(Memory memory, const Site &site);  ///< kWrongCore without it
  Pipe &pipe(pipe_t pipe) { return pipes_[pipe]; }
  bool Has(pipe_t pipe) const;

  [[noreturn]] void Fail(Check check, const Site &site, const std::string &problem) const;
  void Require(bool holds, Check check, const Site &site, const char *problem) const {
    if (!holds) {
      Fail(check, site, problem);
    }
  }

  /// Ends the core's program: nothing may be left set.
  void Finish();

  // Flags between pipes, and their order in time.
  void SetFlag(AscendC::HardEvent event, int id, const Site &site);
  void WaitFlag(AscendC::HardEvent event, int id, const Site &site);
  /// Awaits a flag if it is set.
  void DrainFlag(AscendC::HardEvent event, int id);
  void Barrier(pipe_t pipe, const Site &site);
  /// A number for a flag of `event` that nobody has taken, of the 8 of each event.
  int FreeEvent(AscendC::HardEvent event, const Site &site) const;
  void TakeEvent(AscendC::HardEvent event, int id, bool taken);
  /// The clock of an instruction that follows everything issued on `pipe`.
  Clock After(pipe_t pipe);
  /// Makes `pipe`, or with PIPE_S everything issued from now on, follow `clock`.
  void Follow(pipe_t pipe, const Clock &clock);
  /// Takes the scalar unit's time for one call, and returns when it has made it.
  double ScalarCall();

  std::vector<Buffer> buffers;
  std::array<uint32_t, kMemories> allocated{};  ///< bytes that the TPipe has given out
  AscendC::TPipe *tensor_pipe = nullptr;        ///< the one that is alive

 private:
  friend class Instruction;

  Machine &machine_;
  CoreKind kind_;
  int index_;
  int block_;
  int sub_;
  void FollowScalar(pipe_t pipe);

  uint32_t scalar_waits_ = 0;
  std::vector<Pipe> pipes_;
  std::array<std::unique_ptr<LocalMemory>, kMemories> memories_;
  std::map<std::pair<AscendC::HardEvent, int>, Flag> flags_;
  std::array<uint8_t, static_cast<int>(AscendC::HardEvent::MAX)> taken_events_{};
};

}  // namespace ifa::sim
