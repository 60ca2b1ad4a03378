#include "kernels/loss.h"

#include "kernels/cpu/accuracy.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/element_loss.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
void fill_loss(LossKernels<T>& k) {
  k.check_labels = check_indices;
  k.cross_entropy_workspace = cross_entropy_workspace<T>;
  k.cross_entropy = cross_entropy<T>;
  k.cross_entropy_grad = cross_entropy_grad<T>;
  k.element_loss_workspace = element_loss_workspace<T>;
  k.element_loss = element_loss<T>;
  k.element_loss_grad = element_loss_grad<T>;
  k.accuracy_workspace = accuracy_workspace<T>;
  k.accuracy = accuracy<T>;
}

}  // namespace

void fill(LossKernels<float>& k) { fill_loss(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(LossKernels<double>& k) { fill_loss(k); }
#endif

}  // namespace lamella::LAMELLA_NS
