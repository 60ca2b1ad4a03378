// As many blocks as multiprocessors go through tiles of 128 x 256 in a fixed order. One warp asks the copy engine for
// steps of 128 bytes of k (64 bfloat16s, 32 tf32s) of 128 + 256 rows, 48 KB, into a ring of four; it waits for `empty`
// barriers and the data for `full` ones. Two groups of four warps multiply 64 x 256 each: 4 instructions (m64n256) per
// step, of which the last step's are still at work when the next ones are given. While they store a tile, the ring
// fills with the next one's.
//
// Per step: 128 x 256 x 64 multiplications = 1024 cycles of the units of an H100 at 2048 per cycle (tf32: at 1024, with
// half of the depth), 48 KB from L2 (48 bytes per cycle, which is what bounds it) and 4 x 10 KB x 2 groups from shared
// memory (80 bytes per cycle of 128). A tile's store is 128 KB, some 10 % of the time at k = 4096, not overlapped with
// multiplications.
#include "kernels/cuda/gemm_wgmma.h"

#if !defined(LAMELLA_CUDA_HOST)
#include <cuda.h>
#include <cudaTypedefs.h>

#include <cstdlib>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/gemm_tile_simt.h"
#endif

namespace lamella::cuda {
namespace {

#if !defined(LAMELLA_CUDA_HOST)

constexpr int kBlockM = 128, kBlockN = 256;
template <class Stored>
constexpr int kDepth = 128 / static_cast<int>(sizeof(Stored));  // a step of k: 128 bytes

constexpr int kStages = 4, kConsumers = 2, kThreads = (kConsumers + 1) * 128;
constexpr int kBytesA = kBlockM * 128, kBytesB = kBlockN * 128, kStage = kBytesA + kBytesB;
constexpr size_t kSharedBytes = 1024 + size_t{kStages} * kStage + 2 * kStages * sizeof(uint64_t);

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_expect(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Until the phase of this parity is over.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// A box of the map, from (k, row, batch) on, into shared memory; its bytes count for the barrier.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap* map, int k, int row, int batch,
                                         uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::
          "r"(to),
      "l"(map), "r"(k), "r"(row), "r"(batch), "r"(barrier)
      : "memory");
}
// Of lines of 128 bytes, swizzled over 128 bytes as the copy engine does it: eight lines are 1024 bytes.
__device__ __forceinline__ uint64_t descriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
__device__ __forceinline__ void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kInFlight>
__device__ __forceinline__ void group_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kInFlight) : "memory");
}

#define LAMELLA_WGMMA(kind, tail)                                                                                    \
  asm volatile(                                                                                                      \
      "{\n"                                                                                                          \
      ".reg .pred add;\n"                                                                                            \
      "setp.ne.b32 add, 1, 0;\n"                                                                                     \
      "wgmma.mma_async.sync.aligned." kind                                                                           \
      " "                                                                                                            \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                      \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                             \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                             \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "                             \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                             \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                             \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "                 \
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "            \
      "%128, %129, add, " tail                                                                                       \
      ";\n"                                                                                                          \
      "}\n"                                                                                                          \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),  \
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),       \
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),      \
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),      \
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),      \
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),      \
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),      \
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]),      \
        "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]),      \
        "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), "+f"(d[80]),      \
        "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]),      \
        "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]),      \
        "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), \
        "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]),            \
        "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]),            \
        "+f"(d[119]), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]),            \
        "+f"(d[126]), "+f"(d[127])                                                                                   \
      : "l"(a), "l"(b))

// d += 64 rows of a, 256 rows of b, 32 bytes of k. Lane 4 g + t of warp w of the group holds in d[4 j ... 4 j + 3]
// columns 8 j + 2 t and the next, of rows 16 w + g and 16 w + g + 8.
template <class Stored>
__device__ __forceinline__ void group_mma(float (&d)[128], uint64_t a, uint64_t b) {
  if constexpr (sizeof(Stored) == 2) {
    LAMELLA_WGMMA("m64n256k16.f32.bf16.bf16", "1, 1, 0, 0");
  } else {
    LAMELLA_WGMMA("m64n256k8.f32.tf32.tf32", "1, 1");
  }
}
#undef LAMELLA_WGMMA

// The compiler does not know that d is being written until group_wait: it must neither read it before, nor prepare it
// after group_fence.
__device__ __forceinline__ void hold(float (&d)[128]) {
#pragma unroll
  for (int i = 0; i < 128; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

__device__ __forceinline__ void put_pack(float* to, const Pack<float>& v, int count, bool whole) {
  if (whole) return store_pack(to, v);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j < count) to[j] = v.v[j];
  }
}
__device__ __forceinline__ Pack<float> get_pack(const float* from, int count, bool whole) {
  if (whole) return load_pack(from);
  Pack<float> v;
#pragma unroll
  for (int j = 0; j < 4; ++j) v.v[j] = j < count ? from[j] : 0.0f;
  return v;
}

// Each lane of a pair gives the other the half of a row that it has of the other's, so that both store four columns.
__device__ __forceinline__ void store_tile(const RoundedProduct& g, const float (&d)[128], int64_t batch,
                                           int64_t first_row, int64_t first_column) {
  const int lane = static_cast<int>(threadIdx.x) % 32, odd = lane & 1;
  const int64_t row = first_row + threadIdx.x / 32 % 4 * 16 + lane / 4 + odd * 8;
  const int64_t column0 = first_column + lane % 4 / 2 * 4;
  float* const line = g.c + batch * g.batch_stride_c + row * g.ldc;
  const bool relu = g.act.act == Act::kRelu, later = !relu && g.act.act != Act::kIdentity;
#pragma unroll
  for (int j = 0; j < 32; ++j) {
    const float r0 = __shfl_xor_sync(~0u, odd ? d[4 * j] : d[4 * j + 2], 1);
    const float r1 = __shfl_xor_sync(~0u, odd ? d[4 * j + 1] : d[4 * j + 3], 1);
    Pack<float> v{{odd ? r0 : d[4 * j], odd ? r1 : d[4 * j + 1], odd ? d[4 * j + 2] : r0, odd ? d[4 * j + 3] : r1}};
    const int64_t column = column0 + 8 * j, left = g.n - column;
    if (row >= g.m || left <= 0) continue;
    const int count = left < 4 ? static_cast<int>(left) : 4;
    const bool whole = g.packed_c && count == 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) v.v[i] *= g.alpha;
    if (g.beta != 0) {
      const Pack<float> old = get_pack(line + column, count, whole);
#pragma unroll
      for (int i = 0; i < 4; ++i) v.v[i] = fma(g.beta, old.v[i], v.v[i]);
    }
    if (g.bias != nullptr) {
#pragma unroll
      for (int i = 0; i < 4; ++i) v.v[i] += i < count ? g.bias[column + i] : 0.0f;
    }
    if (relu) {
#pragma unroll
      for (int i = 0; i < 4; ++i) v.v[i] = act_value<Act::kRelu>(v.v[i]);
    }
    put_pack(line + column, v, count, whole);
  }
  if (!later || row >= g.m) return;
    // Other activations are functions that are called, and the sums would have to make room for them: each thread goes
    // over what it has stored.
#pragma unroll 1
  for (int j = 0; j < 32; ++j) {
    const int64_t column = column0 + 8 * j, left = g.n - column;
    if (left <= 0) break;
    const int count = left < 4 ? static_cast<int>(left) : 4;
    const bool whole = g.packed_c && count == 4;
    Pack<float> v = get_pack(line + column, count, whole);
#pragma unroll
    for (int i = 0; i < 4; ++i) v.v[i] = act_value(g.act, v.v[i]);
    put_pack(line + column, v, count, whole);
  }
}

#endif  // sm_90a

template <class Stored>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_wgmma_tiles(const __grid_constant__ CUtensorMap map_a, const __grid_constant__ CUtensorMap map_b,
                     const __grid_constant__ RoundedProduct g, int k_steps) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const uint32_t unaligned = shared_address(dynamic_shared<unsigned char>());
  const uint32_t ring = (unaligned + 1023) / 1024 * 1024;
  const uint32_t full = ring + kStages * kStage, empty = full + kStages * 8;
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + i * 8, 1);
      barrier_init(empty + i * 8, kConsumers);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();

  int stage = 0;
  uint32_t phase = 0;
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 0) {
      asm volatile("prefetch.tensormap [%0];" ::"l"(&map_a) : "memory");
      asm volatile("prefetch.tensormap [%0];" ::"l"(&map_b) : "memory");
      for (int64_t tile = blockIdx.x; tile < g.tiles; tile += gridDim.x) {
        const unsigned each = g.tiles_m * g.tiles_n;
        const int batch = static_cast<int>(tile / each);
        const TilePlace place = tile_place(static_cast<unsigned>(tile % each), g.tiles_m, g.tiles_n);
        for (int step = 0; step < k_steps; ++step) {
          barrier_wait(empty + stage * 8, phase ^ 1);  // of a fresh barrier, the phase before the first is over
          const uint32_t to = ring + stage * kStage, done = full + stage * 8;
          barrier_expect(done, kStage);
          copy_box(to, &map_a, step * kDepth<Stored>, static_cast<int>(place.row * kBlockM), g.one_a ? 0 : batch, done);
          copy_box(to + kBytesA, &map_b, step * kDepth<Stored>, static_cast<int>(place.column * kBlockN),
                   g.one_b ? 0 : batch, done);
          if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
          }
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const uint32_t mine = static_cast<uint32_t>(group - 1) * (kBytesA / kConsumers);
    const bool speaker = threadIdx.x % 128 == 0;
    for (int64_t tile = blockIdx.x; tile < g.tiles; tile += gridDim.x) {
      float d[128];
#pragma unroll
      for (int i = 0; i < 128; ++i) d[i] = 0;
      uint32_t before = empty;  // the barrier of the stage whose multiplications are still at work
#pragma unroll 1
      for (int step = 0; step < k_steps; ++step) {
        barrier_wait(full + stage * 8, phase);
        const uint64_t a = descriptor(ring + stage * kStage + mine);
        const uint64_t b = descriptor(ring + stage * kStage + kBytesA);
        hold(d);
        group_fence();
#pragma unroll
        for (int k = 0; k < 4; ++k) group_mma<Stored>(d, a + k * 2, b + k * 2);
        group_commit();
        group_wait<1>();
        if (step > 0 && speaker) barrier_arrive(before);
        before = empty + stage * 8;
        if (++stage == kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
      group_wait<0>();
      hold(d);
      if (speaker) barrier_arrive(before);
      const unsigned each = g.tiles_m * g.tiles_n;
      const TilePlace place = tile_place(static_cast<unsigned>(tile % each), g.tiles_m, g.tiles_n);
      store_tile(g, d, tile / each, int64_t{place.row} * kBlockM + (group - 1) * 64, int64_t{place.column} * kBlockN);
    }
  }
#else
  __trap();  // compiled for 9.0 without the features of that chip alone
#endif
}

// The driver's function, without linking the driver.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const PFN_cuTensorMapEncodeTiled_v12000 found = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    const cudaError_t e =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t e = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &f, cudaEnableDefault, &result);
#endif
    if (e != cudaSuccess || result != cudaDriverEntryPointSuccess) f = nullptr;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(f);
  }();
  return found;
}

// [batch][rows][length], in boxes of 128 bytes of `box_rows` lines. What lies outside reads as 0.
template <class Stored>
bool describe(CUtensorMap& map, const Factor<Stored>& f, int box_rows) {
  constexpr cuuint64_t kSize = sizeof(Stored);
  const cuuint64_t line = static_cast<cuuint64_t>(f.length) * kSize;
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(f.length), static_cast<cuuint64_t>(f.rows),
                               static_cast<cuuint64_t>(f.batch)};
  const cuuint64_t strides[2] = {line, line * static_cast<cuuint64_t>(f.rows)};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(kDepth<Stored>), static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  return encoder()(&map, kSize == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, f.to,
                   sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                   CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#endif

}  // namespace

bool gemm_wgmma_ready() {
#if defined(LAMELLA_CUDA_HOST)
  return false;
#else
  static const bool on = [] {
    const char* text = std::getenv("LAMELLA_CUDA_WGMMA");
    return text != nullptr && text[0] == '1';
  }();
  return on && device_limits().capability == 90 && encoder() != nullptr;
#endif
}

#if defined(LAMELLA_CUDA_HOST)
bool gemm_wgmma(const Context&, const Factor<uint32_t>&, const Factor<uint32_t>&, const RoundedProduct&, int64_t) {
  return false;
}
bool gemm_wgmma(const Context&, const Factor<uint16_t>&, const Factor<uint16_t>&, const RoundedProduct&, int64_t) {
  return false;
}
#else
namespace {

template <class Stored>
bool run(const Context& ctx, const Factor<Stored>& a, const Factor<Stored>& b, RoundedProduct g, int64_t batch) {
  CUtensorMap map_a, map_b;
  if (!describe(map_a, a, kBlockM) || !describe(map_b, b, kBlockN)) return false;
  g.tiles_m = static_cast<unsigned>(ceil_div(g.m, kBlockM));
  g.tiles_n = static_cast<unsigned>(ceil_div(g.n, kBlockN));
  g.tiles = int64_t{g.tiles_m} * g.tiles_n * batch;
  const int64_t multiprocessors = device_limits().multiprocessors;
  const auto blocks = static_cast<unsigned>(g.tiles < multiprocessors ? g.tiles : multiprocessors);
  launch(ctx, gemm_wgmma_tiles<Stored>, Launch{dim3(blocks), dim3(kThreads), kSharedBytes}, map_a, map_b, g,
         static_cast<int>(ceil_div(a.length, kDepth<Stored>)));
  return true;
}

}  // namespace

bool gemm_wgmma(const Context& ctx, const Factor<uint32_t>& a, const Factor<uint32_t>& b, const RoundedProduct& g,
                int64_t batch) {
  return run(ctx, a, b, g, batch);
}
bool gemm_wgmma(const Context& ctx, const Factor<uint16_t>& a, const Factor<uint16_t>& b, const RoundedProduct& g,
                int64_t batch) {
  return run(ctx, a, b, g, batch);
}
#endif

}  // namespace lamella::cuda
