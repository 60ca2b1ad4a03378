// What ran, for how long and over how much memory.
#include "bindings/cpu_profiler.h"

#include "ops/profiler.h"

namespace lamella::python {
namespace {

py::dict to_dict(const ProfileSite& s) {
  py::dict d;
  d["op"] = s.op;
  d["phase"] = s.phase;
  d["label"] = s.label;
  d["shapes"] = s.shapes;
  d["plan"] = s.plan;
  d["flops"] = s.flops;
  d["bytes"] = s.bytes;
  d["made"] = s.made;
  d["calls"] = s.calls;
  d["total_ns"] = s.total_ns;
  d["least_ns"] = s.least_ns;
  d["most_ns"] = s.most_ns;
  return d;
}

py::tuple stop() {
  const ProfileData data = Profiler::instance().stop();
  py::list sites, plans;
  for (const ProfileSite& s : data.sites) sites.append(to_dict(s));
  for (const ProfilePlan& p : data.plans) {
    plans.append(py::make_tuple(p.training, p.arena_bytes, p.prepared_bytes, p.gradient_bytes));
  }
  py::array_t<int64_t> events({static_cast<py::ssize_t>(data.events.size()), py::ssize_t{4}});
  int64_t* out = events.mutable_data();
  for (const ProfileEvent& e : data.events) {
    *out++ = e.site;
    *out++ = e.thread;
    *out++ = e.begin_ns;
    *out++ = e.end_ns;
  }
  return py::make_tuple(std::move(sites), std::move(events), std::move(plans));
}

}  // namespace

void bind_profiler(py::module_& m) {
  m.def(
      "profile_start", [] { Profiler::instance().start(); }, "Begin to note every op that runs.");
  m.def("profile_stop", &stop,
        "(sites: dicts of calls that are alike; events: rows of site, thread, begin and end in ns; plans: their "
        "training,\n"
        "arena, prepared and gradient bytes).");
  m.def("profile_on", &Profiler::on);
}

}  // namespace lamella::python
