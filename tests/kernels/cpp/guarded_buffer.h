// Memory with an unreadable page right behind its last byte, or right before its first.
#pragma once

#include <cstddef>

namespace ifa::cpu::test {

class GuardedBuffer {
 public:
  enum class Guard { kBehind, kBefore };

  GuardedBuffer() = default;
  /// Zeroed, and writable.
  GuardedBuffer(size_t bytes, Guard guard);
  GuardedBuffer(GuardedBuffer &&other) noexcept;
  GuardedBuffer &operator=(GuardedBuffer &&other) noexcept;
  ~GuardedBuffer();

  std::byte *data() const { return data_; }

  /// Whether writing into it is possible, or ends the process.
  void SetWritable(bool writable);

 private:
  std::byte *mapping_ = nullptr;
  size_t mapped_ = 0;
  std::byte *data_ = nullptr;
  bool writable_ = true;
};

}  // namespace ifa::cpu::test
