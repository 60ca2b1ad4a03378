// Lets other Python threads run while a kernel works.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace lamella::python {

// As pybind11's gil_scoped_release, but a daemon thread inside may outlive the interpreter. When such a thread asks for
// the GIL back, Python before 3.14 ends it by pthread_exit, whose unwinding may neither leave a destructor nor drop
// references without the GIL; so the thread is left hanging until the process is gone, which is moments away. (Later
// Pythons hang it themselves.)
class ReleaseGil {
 public:
  ReleaseGil() : state_(PyEval_SaveThread()) {}
  ~ReleaseGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // the unwinding itself: a handler that never ends stops it
      for (;;) ::pause();
    }
  }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace lamella::python
