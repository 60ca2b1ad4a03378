#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

template <class T>
struct ShapeKernels {};

}  // namespace lamella
