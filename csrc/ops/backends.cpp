#include "ops/backends.h"

#include <dlfcn.h>

#include <atomic>

#include "base/error.h"

namespace lamella {

namespace {
std::atomic<const Backend*> g_default{nullptr};
}  // namespace

const Backend* load_backend(const std::string& path) {
  const auto fail = [&](const std::string& why) { throw Error(ErrorKind::kOs, "backend", path + ": " + why); };
  void* object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) {
    const char* why = dlerror();
    fail(why != nullptr ? why : "cannot be loaded");
  }
  const auto function = reinterpret_cast<LamellaBackendFunction>(dlsym(object, "lamella_backend"));
  if (function == nullptr) fail("holds no backend");
  const Backend* backend = function();
  if (backend == nullptr || backend->abi != backend_abi()) fail("is of another build of Lamella");
  return backend;
}

const Backend* default_backend() { return g_default.load(std::memory_order_relaxed); }
void set_default_backend(const Backend* backend) { g_default.store(backend, std::memory_order_relaxed); }

}  // namespace lamella
