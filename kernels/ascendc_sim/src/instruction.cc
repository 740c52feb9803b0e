#include "sim/instruction.h"

#include <algorithm>

#include "sim/machine.h"

namespace ifa::sim {
namespace {

// One bit for each byte of block `block` that lies in [first, last).
uint32_t BytesIn(uint64_t block, uint64_t first, uint64_t last) {
  const uint64_t start = block * kBlockBytes;
  const uint64_t from = first > start ? first - start : 0;
  const uint64_t to = std::min<uint64_t>(last - start, kBlockBytes);
  return kWholeBlock >> (kBlockBytes - (to - from)) << from;
}

std::string Span(uint64_t first, uint64_t bytes) {
  return "bytes " + std::to_string(first) + " to " + std::to_string(first + bytes);
}

std::string BlockName(const LocalMemory &memory, uint32_t block) {
  return std::string(MemoryName(memory.memory())) + " " + Span(uint64_t{block} * kBlockBytes, kBlockBytes);
}

const char *Verb(Access access) { return access == Access::kRead ? "reads" : "writes"; }

}  // namespace

Instruction::Instruction(pipe_t pipe, const char *name, const Site &site)
    : core_(Core::Current()), pipe_(core_.pipe(pipe)), pipe_kind_(pipe), name_(name), site_(site) {
  if (!core_.Has(pipe)) {
    Fail(Check::kWrongCore,
         std::string(name) + " needs the pipe " + PipeName(pipe) + ", which this core does not have");
  }
  core_.FollowScalar(pipe);
  number_ = ++pipe_.issued;
  pipe_.last[number_ % Pipe::kRemembered] = {name, site};
  known_ = &pipe_.clock.known[Timeline(core_.index(), PIPE_S)];
  if (pipe == PIPE_S) {
    pipe_.clock.known[Timeline(core_.index(), PIPE_S)] = number_;  // it does one access after the other
  }
}

void Instruction::Bounds(const LocalRange &range, uint64_t offset, uint64_t bytes) const {
  if (range.address + offset + bytes > range.limit) {
    Fail(Check::kBufferBounds, std::string(name_) + " takes " + MemoryName(range.memory) + " " +
                                   Span(range.address + offset, bytes) + ", the buffer ends at " +
                                   std::to_string(range.limit));
  }
  if (range.buffer >= 0) {
    const auto state = core_.buffers[range.buffer].state;
    Require(state != Buffer::State::kFree && state != Buffer::State::kEnqueued, Check::kQueue,
            state == Buffer::State::kFree ? "the tensor has been freed" : "the tensor is in the queue");
  }
}

void Instruction::Align(const LocalRange &range, uint32_t alignment, const char *operand) const {
  if (range.address % alignment != 0) {
    Fail(Check::kAlignment, std::string(operand) + " of " + name_ + " is at byte " +
                                std::to_string(range.address) + " of " + MemoryName(range.memory) +
                                ", it must be a multiple of " + std::to_string(alignment));
  }
}

void Instruction::TouchBlock(Access access, LocalMemory &memory, uint32_t block, uint32_t bytes) {
  uint32_t &written = memory.written(block);
  if (access == Access::kWrite) {
    written |= bytes;
  } else if ((bytes & ~written) != 0) {
    Fail(Check::kUnwritten,
         std::string(name_) + " reads " + BlockName(memory, block) + ", not all of which was ever written");
  }
  Order(access, memory, block, bytes);
}

void Instruction::Order(Access access, LocalMemory &memory, uint32_t block, uint32_t bytes) {
  const int own = memory.SlotOf(pipe_kind_);
  Require(own >= 0, Check::kWrongCore, "the pipe of this instruction does not reach this memory");
  Block &record = memory.block(block);
  for (int slot = 0; slot < memory.slots(); ++slot) {
    const uint32_t known = known_[memory.PipeOf(slot)];
    Stamp &write = record.writes[slot];
    Stamp &read = record.reads[slot];
    if ((write.bytes & bytes) != 0 && write.number > known) {
      CheckConflict(access, memory, block, slot, write, Access::kWrite);
    }
    if (access == Access::kWrite) {
      if ((read.bytes & bytes) != 0 && read.number > known) {
        CheckConflict(access, memory, block, slot, read, Access::kRead);
      }
      write.bytes &= ~bytes;
      read.bytes &= ~bytes;
    }
  }
  Stamp &stamp = access == Access::kWrite ? record.writes[own] : record.reads[own];
  stamp = {number_, stamp.bytes | bytes};
}

// An earlier access that is not known to be complete: only this instruction itself may have made it.
void Instruction::CheckConflict(Access access, const LocalMemory &memory, uint32_t block, int slot,
                                const Stamp &stamp, Access earlier) const {
  const pipe_t pipe = memory.PipeOf(slot);
  if (pipe != pipe_kind_ || stamp.number != number_) {
    FailOrder(access, BlockName(memory, block), Timeline(core_.index(), pipe), stamp.number, earlier);
  }
  Require(access == Access::kWrite, Check::kOverlap,
          "a repeat reads what an earlier repeat of the same instruction wrote");
}

uint8_t *Instruction::Touch(Access access, const LocalRange &range, uint32_t offset, uint32_t bytes) {
  Bounds(range, offset, bytes);
  LocalMemory &memory = this->memory(range.memory);
  const uint32_t first = range.address + offset;
  for (uint32_t block = first / kBlockBytes; uint64_t{block} * kBlockBytes < uint64_t{first} + bytes;
       ++block) {
    TouchBlock(access, memory, block, BytesIn(block, first, uint64_t{first} + bytes));
  }
  return memory.data() + first;
}

uint8_t *Instruction::Touch(Access access, const GlobalRange &range, int64_t offset, uint64_t bytes) {
  GlobalRegion *region = range.region;
  Require(region != nullptr, Check::kGlobalBounds,
          "the global tensor lies in none of the tensors of the launch");
  uint8_t *first = range.address + offset;
  if (first < region->data || first + bytes > std::min(region->data + region->bytes, range.limit)) {
    Fail(Check::kGlobalBounds,
         std::string(name_) + " takes " + Span(first - region->data, bytes) + " of " + region->name +
             ", which has " + std::to_string(region->bytes) +
             (range.limit < region->data + region->bytes
                  ? " (its GlobalTensor ends at " + std::to_string(range.limit - region->data) + ")"
                  : ""));
  }
  Require(access == Access::kRead || !region->is_input, Check::kGlobalBounds, "an input is written");
  (access == Access::kRead ? region->bytes_read : region->bytes_written) += bytes;
  if (!region->is_input) {
    const uint64_t from = first - region->data;
    for (uint64_t block = from / kBlockBytes; block * kBlockBytes < from + bytes; ++block) {
      TouchGlobalBlock(access, *region, block, BytesIn(block, from, from + bytes));
    }
  }
  return first;
}

void Instruction::TouchGlobalBlock(Access access, GlobalRegion &region, uint64_t block, uint32_t bytes) {
  GlobalBlock &record = region.blocks[block];
  const std::string::size_type own = Timeline(core_.index(), pipe_kind_);
  const auto where = [&] { return region.name + " " + Span(block * kBlockBytes, kBlockBytes); };
  if (access == Access::kRead && (bytes & ~record.written) != 0) {
    Fail(Check::kUnwritten, std::string(name_) + " reads " + where() + ", not all of which was ever written");
  }
  GlobalAccess *mine = nullptr;
  const auto &known = pipe_.clock.known;
  for (size_t i = record.accesses.size(); i-- > 0;) {
    GlobalAccess &earlier = record.accesses[i];
    const bool is_self = earlier.timeline == own && earlier.number == number_;
    const bool is_ordered = earlier.number <= known[earlier.timeline];
    if ((earlier.bytes & bytes) != 0 && (access == Access::kWrite || earlier.is_write) && !is_ordered &&
        !is_self) {
      FailOrder(access, where(), static_cast<int>(earlier.timeline), earlier.number,
                earlier.is_write ? Access::kWrite : Access::kRead);
    }
    if (access == Access::kWrite || (!earlier.is_write && is_ordered)) {
      earlier.bytes &= ~bytes;
    }
    if (earlier.timeline == own && earlier.is_write == (access == Access::kWrite)) {
      mine = &earlier;
    }
  }
  if (mine != nullptr) {
    *mine = {mine->timeline, number_, mine->bytes | bytes, mine->is_write};
  } else {
    record.accesses.push_back({static_cast<uint32_t>(own), number_, bytes, access == Access::kWrite});
  }
  const auto is_empty = [](const GlobalAccess &earlier) { return earlier.bytes == 0; };
  record.accesses.erase(std::remove_if(record.accesses.begin(), record.accesses.end(), is_empty),
                        record.accesses.end());
  record.written |= access == Access::kWrite ? bytes : 0;
}

void Instruction::FailOrder(Access access, const std::string &where, int timeline, uint32_t number,
                            Access earlier) const {
  Core &other = core_.machine().core(timeline / kTimelinesOfCore);
  const auto pipe = static_cast<pipe_t>(timeline % kTimelinesOfCore);
  const Pipe &of_other = other.pipe(pipe);
  std::string who = std::string(" in ") + PipeName(pipe) + (&other == &core_ ? "" : " of " + other.Name());
  if (of_other.issued - number < Pipe::kRemembered) {
    const Pipe::Issued &issued = of_other.last[number % Pipe::kRemembered];
    who = issued.name + who + " (line " + std::to_string(issued.site.line) + ")";
  } else {
    who = "an instruction" + who;
  }
  Fail(Check::kOrder, std::string(name_) + " in " + PipeName(pipe_kind_) + " " + Verb(access) + " " + where +
                          " without waiting for " + who + ", which " + Verb(earlier) + " it");
}

void Instruction::Finish(double cycles, double latency) {
  const double issue = core_.ScalarCall();
  const double start = std::max({pipe_.free, pipe_.clock.ready, issue});
  pipe_.free = start + cycles;
  pipe_.complete = std::max(pipe_.complete, pipe_.free + latency);
  pipe_.busy += cycles;
  Machine &machine = core_.machine();
  if (machine.options().trace && pipe_kind_ != PIPE_S) {
    machine.result().trace.push_back({core_.Name(), PipeName(pipe_kind_), name_, start, pipe_.free});
  }
}

}  // namespace ifa::sim
