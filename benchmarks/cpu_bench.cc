// Decode attention with cold caches, beside the limit: reading K and V once. Each round times the kernel and
// the read probe in turn, on buffers of one ring, so that what the machine does meanwhile hits both.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "decode_attention.h"
#include "element_types.h"
#include "options.h"
#include "pinning.h"
#include "read_probe.h"
#include "thread_pool.h"

namespace ifa::cpu::bench {
namespace {

// Passes between two uses of a buffer, at least; and more than twice the last-level cache.
constexpr int64_t kColdBytes = 256LL << 20;

struct Result {
  Shape shape;
  DataType dtype;  // of K and V
  double kernel_us;
  double probe_us;
  double percent;  // of the limit: the median over rounds of probe time by kernel time
  double bytes;    // of K and V

  double kernel_gbps() const { return bytes / kernel_us / 1e3; }
  double probe_gbps() const { return bytes / probe_us / 1e3; }
};

// Of query and output; an int8 cache is dequantised to fp16.
DataType QueryType(DataType dtype) { return dtype == DataType::kInt8 ? DataType::kFloat16 : dtype; }

std::string Text(const Shape &s) {
  return std::to_string(s.batch) + "," + std::to_string(s.query_heads) + "," + std::to_string(s.kv_heads) +
         "," + std::to_string(s.kv_length) + "," + std::to_string(s.head_size);
}

// Ordinary numbers of the type in every element: small and of both signs.
void Fill(std::byte *data, int64_t bytes, DataType dtype) {
  uint32_t state = 1;
  for (int64_t i = 0; i < bytes; i += ElementSize(dtype)) {
    state = state * 1664525U + 1013904223U;
    const uint32_t fraction = state >> 9;
    const uint32_t sign = state << 31;
    if (dtype == DataType::kFloat32) {
      const uint32_t bits = sign | 0x3E800000U | fraction;
      std::memcpy(data + i, &bits, sizeof(bits));
    } else if (dtype == DataType::kInt8) {
      data[i] = static_cast<std::byte>(state >> 24);
    } else {
      const uint32_t base =
          dtype == DataType::kFloat16 ? 0x3400U | (fraction >> 13) : 0x3E80U | (fraction >> 16);
      const auto bits = static_cast<uint16_t>((sign >> 16) | base);
      std::memcpy(data + i, &bits, sizeof(bits));
    }
  }
}

struct FreeAligned {
  void operator()(std::byte *p) const { std::free(p); }
};
using Buffer = std::unique_ptr<std::byte, FreeAligned>;

Buffer Allocate(int64_t bytes) {
  constexpr size_t kPage = 4096;
  const size_t size = (static_cast<size_t>(bytes) + kPage - 1) / kPage * kPage;
  auto *memory = static_cast<std::byte *>(std::aligned_alloc(kPage, size));
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return Buffer(memory);
}

// K and V of several calls, used in turn.
class Ring {
 public:
  Ring(const Shape &shape, DataType dtype, int64_t block_size)
      : shape_(shape),
        dtype_(dtype),
        block_size_(block_size),
        tensor_bytes_(shape.batch * shape.kv_heads * shape.kv_length * shape.head_size * ElementSize(dtype)),
        query_bytes_(shape.batch * shape.query_heads * shape.head_size * ElementSize(QueryType(dtype))),
        antiquant_bytes_(2 * shape.kv_heads * shape.head_size * ElementSize(QueryType(dtype))),
        query_(Allocate(query_bytes_)),
        output_(Allocate(query_bytes_)),
        antiquant_scale_(Allocate(antiquant_bytes_)) {
    const int64_t cold =
        std::max(kColdBytes, 2 * static_cast<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE)) + (1 << 20));
    const int64_t calls = 1 + (cold + kv_bytes() - 1) / kv_bytes();
    for (int64_t i = 0; i < 2 * calls; ++i) {
      tensors_.push_back(Allocate(tensor_bytes_));
      Fill(tensors_.back().get(), tensor_bytes_, dtype);
    }
    Fill(query_.get(), query_bytes_, QueryType(dtype));
    Fill(antiquant_scale_.get(), antiquant_bytes_, QueryType(dtype));
    if (block_size > 0) {
      blocks_.resize(static_cast<size_t>(shape.batch * shape.kv_length / block_size));
      std::iota(blocks_.begin(), blocks_.end(), 0);
      std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(1));
    }
  }

  int64_t kv_bytes() const { return 2 * tensor_bytes_; }

  // The K and V that were not used for longest.
  DecodeAttentionArgs NextArgs() {
    const Shape &s = shape_;
    DecodeAttentionArgs args;
    args.dtype = args.output_dtype = QueryType(dtype_);
    args.kv_dtype = dtype_;
    args.batch = s.batch;
    args.query_heads = s.query_heads;
    args.kv_heads = s.kv_heads;
    args.kv_length = s.kv_length;
    args.head_size = s.head_size;
    args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.head_size)));
    args.query = query_.get();
    args.output = output_.get();
    args.query_strides = args.output_strides = {s.query_heads * s.head_size, s.head_size, 0};
    if (dtype_ == DataType::kInt8) {
      args.antiquant_scale = antiquant_scale_.get();
    }
    args.key = tensors_[next_].get();
    args.value = tensors_[next_ + 1].get();
    args.key_strides = {s.kv_heads * s.kv_length * s.head_size, s.kv_length * s.head_size, s.head_size};
    if (block_size_ > 0) {
      args.block_table = blocks_.data();
      args.block_size = block_size_;
      args.block_count = static_cast<int64_t>(blocks_.size());
      args.max_blocks = s.kv_length / block_size_;
      args.key_strides = {s.kv_heads * block_size_ * s.head_size, block_size_ * s.head_size, s.head_size};
    }
    args.value_strides = args.key_strides;
    next_ = (next_ + 2) % tensors_.size();
    return args;
  }

  std::vector<Span> NextSpans() {
    const DecodeAttentionArgs args = NextArgs();
    return {{static_cast<const std::byte *>(args.key), tensor_bytes_},
            {static_cast<const std::byte *>(args.value), tensor_bytes_}};
  }

 private:
  Shape shape_;
  DataType dtype_;      // of K and V
  int64_t block_size_;  // of a paged cache, or 0
  std::vector<int32_t> blocks_;
  int64_t tensor_bytes_;
  int64_t query_bytes_;
  int64_t antiquant_bytes_;
  Buffer query_;
  Buffer output_;
  Buffer antiquant_scale_;
  std::vector<Buffer> tensors_;
  size_t next_ = 0;
};

template <typename Work>
double Microseconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Result Measure(const Shape &shape, DataType dtype, const Options &options) {
  Ring ring(shape, dtype, options.block_size);
  ExecutionOptions execution;
  execution.threads = options.threads;
  execution.isa = options.isa ? &*options.isa : nullptr;
  std::vector<double> kernel, probe_1, probe_4;
  volatile uint64_t keep = 0;
  for (int round = -2; round < options.rounds; ++round) {  // two to warm up code and threads
    const DecodeAttentionArgs args = ring.NextArgs();
    const double kernel_us = Microseconds([&] { DecodeAttention(args, execution); });
    const std::vector<Span> first = ring.NextSpans();
    const double probe_1_us = Microseconds([&] { keep = keep + ReadAll(first, options.threads, 1); });
    const std::vector<Span> second = ring.NextSpans();
    const double probe_4_us = Microseconds([&] { keep = keep + ReadAll(second, options.threads, 4); });
    if (round >= 0) {
      kernel.push_back(kernel_us);
      probe_1.push_back(probe_1_us);
      probe_4.push_back(probe_4_us);
    }
  }
  const std::vector<double> &probe = Median(probe_1) < Median(probe_4) ? probe_1 : probe_4;
  std::vector<double> percents;
  for (size_t i = 0; i < kernel.size(); ++i) {
    percents.push_back(100 * probe[i] / kernel[i]);
  }
  return {
      shape, dtype, Median(kernel), Median(probe), Median(percents), static_cast<double>(ring.kv_bytes())};
}

void StartThreads(int threads) {
  for (int i = 0; i < 3; ++i) {  // a helper may come too late for the first job
    ThreadPool::Instance().Run(threads, [](int) { usleep(2000); });
  }
  PinThreads();
}

void PrintHeader(const Options &options) {
  std::printf("%s, %d threads, cold caches, medians of %d rounds\n",
              InstructionSetName(options.isa ? *options.isa : BestInstructionSet()), options.threads,
              options.rounds);
  std::printf("%-20s %-5s %12s %10s %11s %8s\n", "B,N,kvN,S,D", "dtype", "median us", "KV GB/s", "probe GB/s",
              "percent");
}

void Print(const Result &r) {
  std::printf("%-20s %-5s %12.1f %10.2f %11.2f %8.1f\n", Text(r.shape).c_str(), DataTypeName(r.dtype),
              r.kernel_us, r.kernel_gbps(), r.probe_gbps(), r.percent);
  std::fflush(stdout);
}

void WriteJson(const std::string &path, const Options &options, const std::vector<Result> &results) {
  std::ofstream file(path);
  file << "{\"isa\": \"" << InstructionSetName(options.isa ? *options.isa : BestInstructionSet())
       << "\", \"threads\": " << options.threads << ", \"rounds\": " << options.rounds << ", \"results\": [";
  for (size_t i = 0; i < results.size(); ++i) {
    const Result &r = results[i];
    file << (i == 0 ? "\n" : ",\n") << "  {\"shape\": [" << Text(r.shape) << "], \"dtype\": \""
         << DataTypeName(r.dtype) << "\", \"median_us\": " << r.kernel_us
         << ", \"kv_gbps\": " << r.kernel_gbps() << ", \"probe_gbps\": " << r.probe_gbps()
         << ", \"percent\": " << r.percent << "}";
  }
  file << "\n]}\n";
  if (!file) {
    throw std::runtime_error("--json is '" + path + "'; it cannot be written.");
  }
}

void Run(const Options &options) {
  StartThreads(options.threads);
  PrintHeader(options);
  std::vector<Result> results;
  for (const DataType dtype : options.dtypes) {
    for (const Shape &shape : options.shapes) {
      results.push_back(Measure(shape, dtype, options));
      Print(results.back());
    }
  }
  if (!options.json.empty()) {
    WriteJson(options.json, options, results);
  }
}

}  // namespace
}  // namespace ifa::cpu::bench

int main(int argc, char **argv) {
  using namespace ifa::cpu::bench;
  try {
    Run(ParseOptions(argc, argv));
  } catch (const std::invalid_argument &error) {
    std::fprintf(stderr, "%s\n%s", error.what(), kUsage);
    return 2;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
