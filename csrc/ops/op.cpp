#include "ops/op.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/half.h"

namespace lamella {

namespace {

struct ActName {
  const char* name;
  Act act;
};
// The first name of an activation is the one it is written under.
constexpr ActName kActNames[] = {{"identity", Act::kIdentity},
                                 {"linear", Act::kIdentity},
                                 {"relu", Act::kRelu},
                                 {"leaky_relu", Act::kLeakyRelu},
                                 {"elu", Act::kElu},
                                 {"selu", Act::kSelu},
                                 {"sigmoid", Act::kSigmoid},
                                 {"tanh", Act::kTanh},
                                 {"softplus", Act::kSoftplus},
                                 {"silu", Act::kSilu},
                                 {"swish", Act::kSilu},
                                 {"gelu", Act::kGelu},
                                 {"gelu_tanh", Act::kGeluTanh},
                                 {"hard_sigmoid", Act::kHardSigmoid},
                                 {"hard_swish", Act::kHardSwish},
                                 {"relu6", Act::kRelu6},
                                 {"softsign", Act::kSoftsign},
                                 {"exp", Act::kExp},
                                 {"mish", Act::kMish}};

constexpr bool every_activation_is_named() {
  for (int32_t a = 0; a < static_cast<int32_t>(Act::kCount); ++a) {
    bool named = false;
    for (const ActName& n : kActNames) named = named || n.act == static_cast<Act>(a);
    if (!named) return false;
  }
  return true;
}
static_assert(every_activation_is_named());

// What an attribute holds, for error messages: its JSON text, shortened.
std::string describe(const Json& v) {
  constexpr size_t kMost = 60;
  std::string text;
  try {
    text = v.dump();
  } catch (const Error&) {
    return "a value that JSON cannot hold (nan, infinity or broken UTF-8)";
  }
  return text.size() <= kMost ? text : text.substr(0, kMost - 3) + "...";
}

std::string join(std::span<const std::string> names) {
  std::string s;
  for (const std::string& n : names) s += (s.empty() ? "" : ", ") + n;
  return s.empty() ? "none" : s;
}

std::string did_you_mean(const std::string& name, std::span<const std::string> known) {
  const std::string close = closest_name(name, known);
  return close.empty() ? "" : "; did you mean '" + close + "'?";
}

// Edits (insert, delete, replace, swap of neighbours) that turn a into b.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1] ? 1u : 0u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

void Op::backward(Exec&, const BackwardArgs&) const {
  throw Error(ErrorKind::kUnsupported, std::string(name()), "not differentiable");
}

Signature infer_checked(const Op& op, std::span<const TensorSpec> in, bool training) {
  Signature sig = infer_halves(op, in, training);
  for (const std::vector<TensorSpec>* specs : {&sig.outputs, &sig.saved}) {
    for (const TensorSpec& s : *specs) {
      if (!s.shape.representable()) {
        fail_value(std::string(op.name()), "inputs and attributes", "results of a representable size", s.str());
      }
    }
  }
  return sig;
}

AttrReader::AttrReader(std::string op, const Json& attrs) : op_(std::move(op)), attrs_(&attrs) {
  if (!attrs.is_object() && !attrs.is_null()) fail_type(op_, "attributes", "an object", describe(attrs));
}

const Json* AttrReader::get(const char* key) {
  known_.emplace_back(key);
  const Json* v = attrs_->find(key);
  return v == nullptr || v->is_null() ? nullptr : v;
}

bool AttrReader::has(const char* key) { return get(key) != nullptr; }

int64_t AttrReader::get_int(const char* key, int64_t fallback) {
  const Json* v = get(key);
  if (v == nullptr) return fallback;
  try {
    return v->as_int();
  } catch (const Error&) {
    fail_type(op_, key, "an integer", describe(*v));
  }
}

double AttrReader::get_double(const char* key, double fallback) {
  const Json* v = get(key);
  if (v == nullptr) return fallback;
  if (!v->is_number()) fail_type(op_, key, "a number", describe(*v));
  return v->as_double();
}

bool AttrReader::get_bool(const char* key, bool fallback) {
  const Json* v = get(key);
  if (v == nullptr) return fallback;
  if (!v->is_bool()) fail_type(op_, key, "true or false", describe(*v));
  return v->as_bool();
}

std::string AttrReader::get_string(const char* key, const char* fallback) {
  const Json* v = get(key);
  if (v == nullptr) return fallback;
  if (!v->is_string()) fail_type(op_, key, "a string", describe(*v));
  return v->as_string();
}

std::vector<int64_t> AttrReader::get_ints(const char* key, std::vector<int64_t> fallback) {
  const Json* v = get(key);
  if (v == nullptr) return fallback;
  std::vector<int64_t> ints;
  try {
    if (v->is_array())
      for (const Json& item : v->as_array()) ints.push_back(item.as_int());
    else
      ints.push_back(v->as_int());
  } catch (const Error&) {
    fail_type(op_, key, "an integer or a list of integers", describe(*v));
  }
  return ints;
}

std::vector<int64_t> AttrReader::get_sizes(const char* key, std::vector<int64_t> fallback) {
  std::vector<int64_t> sizes = get_ints(key, std::move(fallback));
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (int64_t v : sizes) {
    if (v < -kMost || v > kMost) fail_value(op_, key, "no number beyond " + std::to_string(kMost), std::to_string(v));
  }
  return sizes;
}

void AttrReader::done() const {
  if (attrs_->is_null()) return;
  for (const auto& [key, value] : attrs_->as_object()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    std::vector<std::string> names = known_;
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    fail_value(op_, "attributes", "only known names (" + join(names) + ")", "'" + key + "'" + did_you_mean(key, names));
  }
}

Activation activation_from_name(const std::string& op, const std::string& name, double alpha) {
  std::vector<std::string> known;
  for (const ActName& n : kActNames) {
    if (name == n.name) return {n.act, std::isnan(alpha) ? activation_default_alpha(n.act) : alpha};
    known.emplace_back(n.name);
  }
  fail_value(op, "activation", "one of " + join(known), "'" + name + "'" + did_you_mean(name, known));
}

const char* activation_name(Act act) {
  for (const ActName& n : kActNames)
    if (n.act == act) return n.name;
  return "?";
}

double activation_default_alpha(Act act) {
  switch (act) {
    case Act::kLeakyRelu:
      return 0.01;
    case Act::kElu:
      return 1.0;
    default:
      return 0.0;
  }
}

std::string closest_name(const std::string& name, std::span<const std::string> known) {
  // Two slips in a name of six letters are a typo, in a name of three they are another word.
  size_t best = name.size() / 3 + 1;
  std::string closest;
  for (const std::string& candidate : known) {
    const size_t longer = std::max(candidate.size(), name.size());
    if (longer - std::min(candidate.size(), name.size()) > best) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance < best || (distance == best && closest.empty() && distance < longer)) {
      best = distance;
      closest = candidate;
    }
  }
  return closest;
}

void check_count(const char* op, std::span<const TensorSpec> in, size_t least, size_t most) {
  if (in.size() >= least && in.size() <= most) return;
  const std::string range =
      least == most ? std::to_string(least) : std::to_string(least) + " to " + std::to_string(most);
  fail_value(op, "inputs", range + (most == 1 ? " array" : " arrays"), std::to_string(in.size()));
}

namespace {
std::string got_dtype(const TensorSpec& spec) { return absent(spec) ? "none" : dtype_name(spec.dtype); }
}  // namespace

void check_rank(const char* op, const char* argument, const TensorSpec& spec, int rank) {
  if (spec.shape.rank() != rank)
    fail_value(op, argument, std::to_string(rank) + (rank == 1 ? " dimension" : " dimensions"),
               absent(spec) ? "none" : std::to_string(spec.shape.rank()) + " in shape " + spec.shape.str());
}

void check_float(const char* op, const char* argument, const TensorSpec& spec) {
  if (!is_float(spec.dtype)) fail_type(op, argument, "float32 or float64", got_dtype(spec));
}

void check_same_dtype(const char* op, const char* argument, const TensorSpec& spec, DType dtype) {
  if (spec.dtype != dtype) fail_type(op, argument, dtype_name(dtype), got_dtype(spec));
}

}  // namespace lamella
