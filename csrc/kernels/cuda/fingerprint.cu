// Fingerprints at the speed of reading. The memory is cut into pairs of 8-byte words, which go round a number of
// threads that its size alone sets. Each makes a chain of its words; the chains, scrambled, are added up.
//
// A chain is one to one in each of its words, so is the scrambling, and so is the sum in each chain: memory that
// differs in one word differs in its fingerprint. Chains begin with different numbers, so it counts where a word is.
#include "kernels/cuda/device.h"
#include "kernels/cuda/tables.h"
#include "kernels/fingerprint.h"

namespace lamella::cuda {

#if !defined(LAMELLA_CUDA_HOST)
void note_error(cudaError_t error);
#endif

namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 1024;
constexpr int kInFlight = 4;
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u, kSeed = 0xD6E8FEB86659FD93u;

// h becomes something that is one to one in h and in word. The rotation carries high bits down: without it, two flipped
// signs would cancel.
__device__ void mix(uint64_t& h, uint64_t word) {
  h ^= word;
  h = ((h << 29) | (h >> 35)) * kOdd;
}

// One to one, and every bit of h moves half of the others (the last steps of SplitMix64).
__host__ __device__ uint64_t scramble(uint64_t h) {
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
  return h ^ (h >> 31);
}

using Pair = Pack<uint64_t>;

// The pair's bytes one by one, zeros where there are none.
__device__ Pair load_bytes(const unsigned char* p, int64_t bytes) {
  Pair pair = {};
  for (int i = 0; i < 16 && i < bytes; ++i) pair.v[i / 8] |= static_cast<uint64_t>(p[i]) << (i % 8 * 8);
  return pair;
}

__global__ void __launch_bounds__(kThreads)
    fingerprint_kernel(const unsigned char* data, int64_t bytes, bool aligned, uint64_t* sums) {
  __shared__ uint64_t scratch[32];
  const int64_t step = thread_count(), whole = aligned ? bytes / 16 : 0, pairs = ceil_div(bytes, 16);
  uint64_t h = kSeed + static_cast<uint64_t>(thread_number());
  int64_t i = thread_number();
  for (; i + (kInFlight - 1) * step < whole; i += kInFlight * step) {
    Pair pair[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k)
      pair[k] = load_pack(reinterpret_cast<const uint64_t*>(data) + 2 * (i + k * step));
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      mix(h, pair[k].v[0]);
      mix(h, pair[k].v[1]);
    }
  }
  for (; i < pairs; i += step) {
    const Pair pair = i < whole ? load_pack(reinterpret_cast<const uint64_t*>(data) + 2 * i)
                                : load_bytes(data + 16 * i, bytes - 16 * i);
    mix(h, pair.v[0]);
    mix(h, pair.v[1]);
  }
  const uint64_t sum = block_sum(scramble(h), scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Host memory that the device writes to; one per thread of the host, which waits for what it asked for.
uint64_t* sums_of_blocks() {
#if defined(LAMELLA_CUDA_HOST)
  static thread_local uint64_t sums[kMostBlocks];
  return sums;
#else
  static thread_local uint64_t* const sums = []() -> uint64_t* {
    void* p = nullptr;
    const cudaError_t e =
        cudaHostAlloc(&p, kMostBlocks * sizeof(uint64_t), cudaHostAllocMapped | cudaHostAllocPortable);
    note_error(e);
    return e == cudaSuccess ? static_cast<uint64_t*>(p) : nullptr;
  }();
  return sums;
#endif
}

uint64_t fingerprint(const Context& ctx, const void* data, int64_t bytes) {
  uint64_t h = scramble(static_cast<uint64_t>(bytes));
  uint64_t* const sums = sums_of_blocks();
  if (bytes <= 0 || sums == nullptr) return h;
  const int64_t wanted = ceil_div(bytes, 16 * kThreads * kInFlight);
  const int64_t blocks = wanted < kMostBlocks ? wanted : kMostBlocks;
  launch(ctx, fingerprint_kernel, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)},
         static_cast<const unsigned char*>(data), bytes, aligned16(data), sums);
#if !defined(LAMELLA_CUDA_HOST)
  note_error(cudaStreamSynchronize(static_cast<cudaStream_t>(ctx.stream)));
#endif
  for (int64_t b = 0; b < blocks; ++b) h += sums[b];
  return h;
}

}  // namespace

void fill(FingerprintKernels<float>& k) { k.fingerprint = fingerprint; }
void fill(FingerprintKernels<double>& k) { k.fingerprint = fingerprint; }

}  // namespace lamella::cuda
