#include "sim/core.h"

#include "sim/machine.h"

namespace ifa::sim {

using AscendC::HardEvent;

namespace {

struct Ends {
  pipe_t from;
  pipe_t to;
};

// In the order of HardEvent.
constexpr Ends kEnds[] = {
    {PIPE_MTE2, PIPE_MTE1}, {PIPE_MTE1, PIPE_MTE2}, {PIPE_MTE1, PIPE_M},  {PIPE_M, PIPE_MTE1},
    {PIPE_MTE2, PIPE_V},    {PIPE_V, PIPE_MTE2},    {PIPE_MTE3, PIPE_V},  {PIPE_V, PIPE_MTE3},
    {PIPE_M, PIPE_V},       {PIPE_V, PIPE_M},       {PIPE_V, PIPE_V},     {PIPE_MTE3, PIPE_MTE1},
    {PIPE_MTE1, PIPE_MTE3}, {PIPE_MTE1, PIPE_V},    {PIPE_MTE2, PIPE_M},  {PIPE_M, PIPE_MTE2},
    {PIPE_V, PIPE_MTE1},    {PIPE_M, PIPE_FIX},     {PIPE_FIX, PIPE_M},   {PIPE_MTE3, PIPE_MTE2},
    {PIPE_MTE2, PIPE_MTE3}, {PIPE_S, PIPE_V},       {PIPE_V, PIPE_S},     {PIPE_S, PIPE_MTE2},
    {PIPE_MTE2, PIPE_S},    {PIPE_S, PIPE_MTE3},    {PIPE_MTE3, PIPE_S},  {PIPE_MTE2, PIPE_FIX},
    {PIPE_FIX, PIPE_MTE2},  {PIPE_FIX, PIPE_S},     {PIPE_M, PIPE_S},     {PIPE_FIX, PIPE_MTE3},
    {PIPE_MTE1, PIPE_FIX},  {PIPE_FIX, PIPE_MTE1},  {PIPE_FIX, PIPE_FIX},
};
static_assert(sizeof(kEnds) / sizeof(kEnds[0]) == static_cast<size_t>(HardEvent::MAX));

constexpr int kEventIds = 8;

Ends EndsOf(HardEvent event) { return kEnds[static_cast<int>(event)]; }

std::string FlagName(HardEvent event, int id) {
  return std::string("flag ") + std::to_string(id) + " of " + PipeName(EndsOf(event).from) + "_" +
         PipeName(EndsOf(event).to);
}

}  // namespace

Core::Core(Machine &machine, CoreKind kind, int index, int block, int sub, int cores)
    : machine_(machine), kind_(kind), index_(index), block_(block), sub_(sub) {
  for (int pipe = 0; pipe < kPipes; ++pipe) {
    pipes_.emplace_back(cores);
  }
  for (int i = 0; i < kMemories; ++i) {
    const auto memory = static_cast<Memory>(i);
    if ((memory == Memory::kUb) == (kind == CoreKind::kVector)) {
      memories_[i] = std::make_unique<LocalMemory>(memory);
    }
  }
}

std::string Core::Name() const {
  if (kind_ == CoreKind::kCube) {
    return "AIC " + std::to_string(block_);
  }
  return "AIV " + std::to_string(block_) + "." + std::to_string(sub_);
}

LocalMemory &Core::memory(Memory memory, const Site &site) {
  auto &found = memories_[static_cast<int>(memory)];
  if (!found) {
    Fail(Check::kWrongCore, site, std::string("this core has no ") + MemoryName(memory));
  }
  return *found;
}

bool Core::Has(pipe_t pipe) const {
  switch (pipe) {
    case PIPE_V:
      return kind_ == CoreKind::kVector;
    case PIPE_M:
    case PIPE_MTE1:
    case PIPE_FIX:
      return kind_ == CoreKind::kCube;
    default:
      return true;
  }
}

void Core::Fail(Check check, const Site &site, const std::string &problem) const {
  throw Finding(check, site, Name(), problem);
}

double Core::ScalarCall() {
  Pipe &scalar = pipes_[PIPE_S];
  scalar.free += machine_.options().costs.scalar_call;
  scalar.busy += machine_.options().costs.scalar_call;
  return scalar.free;
}

// What the scalar unit waited for precedes what it issues from then on; its own accesses precede nothing that
// a flag does not order after them.
void Core::FollowScalar(pipe_t pipe) {
  Pipe &follower = pipes_[pipe];
  if (pipe == PIPE_S || follower.scalar_seen == scalar_waits_) {
    return;
  }
  follower.scalar_seen = scalar_waits_;
  uint32_t &of_scalar = follower.clock.known[Timeline(index_, PIPE_S)];
  const uint32_t before = of_scalar;
  follower.clock.Join(pipes_[PIPE_S].clock);
  of_scalar = before;
}

Clock Core::After(pipe_t pipe) {
  FollowScalar(pipe);
  Pipe &last = pipes_[pipe];
  Clock clock = last.clock;
  clock.known[Timeline(index_, pipe)] = last.issued;
  clock.ready = std::max({clock.ready, last.complete, pipes_[PIPE_S].free});
  return clock;
}

void Core::Follow(pipe_t pipe, const Clock &clock) {
  pipes_[pipe].clock.Join(clock);
  if (pipe == PIPE_S) {
    ++scalar_waits_;
    pipes_[PIPE_S].free = std::max(pipes_[PIPE_S].free, clock.ready);
  }
}

void Core::SetFlag(HardEvent event, int id, const Site &site) {
  const Ends ends = EndsOf(event);
  Require(id >= 0 && id < kEventIds, Check::kFlagInVain, site, "flags have numbers from 0 to 7");
  Require(Has(ends.from) && Has(ends.to), Check::kWrongCore, site,
          "this core does not have the pipes of the flag");
  ScalarCall();
  const auto [place, is_new] = flags_.try_emplace({event, id}, Flag{After(ends.from), site});
  if (!is_new) {
    Fail(Check::kFlagSetTwice, site,
         FlagName(event, id) + " is still set from line " + std::to_string(place->second.site.line));
  }
  ++machine_.result().flags["SetFlag"];
}

void Core::WaitFlag(HardEvent event, int id, const Site &site) {
  ScalarCall();
  if (flags_.count({event, id}) == 0) {
    Fail(Check::kFlagInVain, site, FlagName(event, id) + " has not been set");
  }
  DrainFlag(event, id);
}

void Core::DrainFlag(HardEvent event, int id) {
  const auto found = flags_.find({event, id});
  if (found != flags_.end()) {
    Follow(EndsOf(event).to, found->second.clock);
    flags_.erase(found);
  }
}

void Core::Barrier(pipe_t pipe, const Site &site) {
  ScalarCall();
  ++machine_.result().flags["PipeBarrier"];
  if (pipe != PIPE_ALL) {
    Require(Has(pipe), Check::kWrongCore, site, "this core does not have the pipe of the barrier");
    pipes_[pipe].clock = After(pipe);
    return;
  }
  Clock all = After(PIPE_S);
  for (int other = 0; other < kPipes; ++other) {
    all.Join(After(static_cast<pipe_t>(other)));
  }
  for (Pipe &other : pipes_) {
    other.clock = all;
  }
  Follow(PIPE_S, all);
}

int Core::FreeEvent(HardEvent event, const Site &site) const {
  for (int id = 0; id < kEventIds; ++id) {
    if ((taken_events_[static_cast<int>(event)] >> id & 1) == 0) {
      return id;
    }
  }
  Fail(Check::kQueue, site, "all 8 flags of an event are taken");
}

void Core::TakeEvent(HardEvent event, int id, bool taken) {
  uint8_t &events = taken_events_[static_cast<int>(event)];
  events = static_cast<uint8_t>(taken ? events | 1 << id : events & ~(1 << id));
}

void Core::Finish() {
  for (const auto &[key, flag] : flags_) {
    Fail(Check::kFlagLeftSet, flag.site, FlagName(key.first, key.second) + " is never awaited");
  }
  for (const Buffer &buffer : buffers) {
    Require(buffer.state == Buffer::State::kPlain || buffer.state == Buffer::State::kFree, Check::kQueue,
            buffer.site, "the tensor of a queue is not freed");
  }
}

}  // namespace ifa::sim
