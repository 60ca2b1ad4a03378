// The devices besides the CPU: shared objects, loaded when somebody asks for one.
#pragma once

#include <string>

#include "kernels/backend.h"

namespace lamella {

// Loads a backend from a shared object that exports lamella_backend(), once; throws Error(kOs) where there is none in
// the file, or one of another build. It stays loaded.
const Backend* load_backend(const std::string& path);

// What ops of new Execs run on: nullptr is the CPU. For tests, which run everything on the emulated device.
const Backend* default_backend();
void set_default_backend(const Backend* backend);

}  // namespace lamella
