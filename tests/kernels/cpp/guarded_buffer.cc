#include "guarded_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <utility>

namespace ifa::cpu::test {

GuardedBuffer::GuardedBuffer(size_t bytes, Guard guard) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t body = (bytes + page - 1) / page * page;
  mapped_ = body + 2 * page;
  void *mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw std::bad_alloc();
  }
  mapping_ = static_cast<std::byte *>(mapping);
  if (body > 0 && mprotect(mapping_ + page, body, PROT_READ | PROT_WRITE) != 0) {
    throw std::bad_alloc();
  }
  data_ = mapping_ + page + (guard == Guard::kBehind ? body - bytes : 0);
}

GuardedBuffer::GuardedBuffer(GuardedBuffer &&other) noexcept { *this = std::move(other); }

GuardedBuffer &GuardedBuffer::operator=(GuardedBuffer &&other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  std::swap(data_, other.data_);
  std::swap(writable_, other.writable_);
  return *this;
}

void GuardedBuffer::SetWritable(bool writable) {
  if (mapping_ == nullptr || writable == writable_) {
    return;
  }
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (mprotect(mapping_ + page, mapped_ - 2 * page, writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0) {
    throw std::bad_alloc();
  }
  writable_ = writable;
}

GuardedBuffer::~GuardedBuffer() {
  if (mapping_ != nullptr) {
    munmap(mapping_, mapped_);
  }
}

}  // namespace ifa::cpu::test
