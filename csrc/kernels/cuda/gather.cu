// Batches out of a data set.
#include "kernels/cuda/row_gather.h"
#include "kernels/cuda/shape_parts.h"
#include "kernels/cuda/tables.h"
#include "kernels/gather.h"

namespace lamella::cuda {
namespace {

void gather_batch(const Context& ctx, const GatherRowsParams& p) {
  RowGather g;
  g.src = p.src;
  g.dst = p.dst;
  g.index.i64 = p.indices;
  g.index.n = p.rows;
  g.row_bytes = p.row_bytes;
  if (p.indices == nullptr) g.src = static_cast<const unsigned char*>(p.src) + p.first * p.row_bytes;
  if (p.u8_to_float) {
    gather_rows_as_float(ctx, g);
  } else if (p.indices == nullptr) {
    copy_bytes(ctx, g.dst, g.src, p.rows * p.row_bytes);
  } else {
    gather_rows(ctx, g);
  }
}

}  // namespace

void fill(GatherKernels<float>& k) { k.gather_rows = gather_batch; }
void fill(GatherKernels<double>& k) { k.gather_rows = gather_batch; }

}  // namespace lamella::cuda
