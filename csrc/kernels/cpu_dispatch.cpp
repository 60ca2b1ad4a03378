// Chooses the CPU's kernel tables once, at first use. Compiled without ISA flags.
#include "base/cpu_features.h"
#include "kernels/kernels.h"

namespace lamella {

namespace portable {
void fill_table(KernelTable<float>&);
void fill_table(KernelTable<double>&);
}  // namespace portable
namespace avx2 {
void fill_table(KernelTable<float>&);
}
namespace avx512 {
void fill_table(KernelTable<float>&);
}

template <>
const KernelTable<float>& cpu_kernels<float>() {
  static const KernelTable<float> table = [] {
    KernelTable<float> t;
    switch (isa_choose()) {
#if defined(LAMELLA_BUILT_AVX512)
      case Isa::kAvx512:
        avx512::fill_table(t);
        break;
#endif
#if defined(LAMELLA_BUILT_AVX2)
      case Isa::kAvx2:
        avx2::fill_table(t);
        break;
#endif
      default:
        portable::fill_table(t);
    }
    return t;
  }();
  return table;
}

template <>
const KernelTable<double>& cpu_kernels<double>() {
  static const KernelTable<double> table = [] {
    KernelTable<double> t;
    portable::fill_table(t);
    return t;
  }();
  return table;
}

}  // namespace lamella
