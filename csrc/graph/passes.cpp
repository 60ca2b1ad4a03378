#include "graph/passes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace lamella {

// Edits the nodes of a copy of a graph. Values keep their ids; a value that nobody makes any more is simply unused.
class GraphRewriter {
 public:
  GraphRewriter(const Graph& graph, std::vector<int>& results) : g_(graph), results_(results) { index(); }

  const Node& node(size_t i) const { return g_.nodes_[i]; }
  size_t size() const { return g_.nodes_.size(); }
  bool removed(size_t i) const { return removed_[i]; }
  int producer(int value) const { return value < 0 ? -1 : producer_[value]; }
  // Nodes that read the value; a wanted result counts as one reader more.
  int readers(int value) const { return readers_[value]; }
  const TensorSpec& spec(int value) const { return g_.values_[value].spec; }

  // Node i becomes `op` over `in`, making the values `out`.
  void replace(size_t i, OpPtr op, std::vector<int> in, std::vector<int> out) {
    Node& n = g_.nodes_[i];
    n.op = std::move(op);
    n.in = std::move(in);
    n.out = std::move(out);
    std::vector<TensorSpec> specs;
    for (int id : n.in) specs.push_back(id < 0 ? absent_spec() : spec(id));
    const Signature sig = infer_checked(*n.op, specs, false);
    for (size_t k = 0; k < n.out.size(); ++k) g_.values_[n.out[k]].spec = sig.outputs[k];
    index();
  }
  // A node before node i; returns its one output's value id. Node numbers from i on move up by one.
  int insert(size_t i, OpPtr op, std::vector<int> in) {
    std::vector<TensorSpec> specs;
    for (int id : in) specs.push_back(spec(id));
    Value made;
    made.spec = infer_checked(*op, specs, false).outputs[0];
    g_.values_.push_back(std::move(made));
    const int id = static_cast<int>(g_.values_.size()) - 1;
    const auto at = static_cast<std::ptrdiff_t>(i);
    g_.nodes_.insert(g_.nodes_.begin() + at, Node{std::move(op), "", std::move(in), {id}});
    removed_.insert(removed_.begin() + at, false);
    index();
    return id;
  }
  // A constant of one element.
  int scalar(DType dtype, double value) {
    const std::shared_ptr<char[]> memory(new char[8]);
    if (dtype == DType::kF32) {
      const auto narrow = static_cast<float>(value);
      std::memcpy(memory.get(), &narrow, sizeof narrow);
    } else {
      std::memcpy(memory.get(), &value, sizeof value);
    }
    const TensorView view{memory.get(), dtype, Shape{1}};
    return g_.add_const("constant " + std::to_string(g_.values_.size()), view, memory);
  }
  // Whether it keeps its value from run to run of an inference plan.
  bool is_given(int value) const {
    return g_.values_[value].kind == ValueKind::kParam || g_.values_[value].kind == ValueKind::kConst;
  }
  void remove(size_t i) {
    removed_[i] = true;
    index();
  }
  // Everybody who reads `from` reads `to` instead.
  void redirect(int from, int to) {
    for (Node& n : g_.nodes_) std::replace(n.in.begin(), n.in.end(), from, to);
    std::replace(results_.begin(), results_.end(), from, to);
    index();
  }

  void remove_dead() {
    std::vector<bool> live(g_.values_.size(), false);
    for (int id : results_) live[id] = true;
    for (size_t i = size(); i-- > 0;) {
      if (removed_[i]) continue;
      bool any = false;
      for (int id : g_.nodes_[i].out) any |= live[id];
      removed_[i] = !any;
      if (!any) continue;
      for (int id : g_.nodes_[i].in)
        if (id >= 0) live[id] = true;
    }
    std::vector<Node> kept;
    for (size_t i = 0; i < size(); ++i)
      if (!removed_[i]) kept.push_back(std::move(g_.nodes_[i]));
    g_.nodes_ = std::move(kept);
    removed_.assign(size(), false);
    index();
  }

  Graph take() { return std::move(g_); }

 private:
  void index() {
    removed_.resize(size(), false);
    producer_.assign(g_.values_.size(), -1);
    readers_.assign(g_.values_.size(), 0);
    for (size_t i = 0; i < size(); ++i) {
      if (removed_[i]) continue;
      for (int id : g_.nodes_[i].out) producer_[id] = static_cast<int>(i);
      for (int id : g_.nodes_[i].in)
        if (id >= 0) ++readers_[id];
    }
    for (int id : results_) ++readers_[id];
  }

  Graph g_;
  std::vector<int>& results_;
  std::vector<bool> removed_;
  std::vector<int> producer_, readers_;
};

namespace {

Json with_attr(Json attrs, const char* key, Json value) {
  attrs.set(key, std::move(value));
  return attrs;
}

// dense -> activation becomes dense{activation}: the epilogue applies it while the tile is in registers.
void fuse_activations(GraphRewriter& r, bool training) {
  for (size_t j = 0; j < r.size(); ++j) {
    const Node& act = r.node(j);
    if (r.removed(j) || act.op->name() != "activation") continue;
    const int i = r.producer(act.in[0]);
    if (i < 0 || r.readers(act.in[0]) != 1 || r.node(i).out.size() != 1) continue;
    const Json attrs = r.node(i).op->attrs();
    const Json* own = attrs.find("activation");
    if (r.node(i).op->name() == "activation" || own == nullptr || own->as_string() != "identity") continue;
    const Json act_attrs = act.op->attrs();
    const std::string name = act_attrs.at("activation").as_string();
    const Json* alpha = act_attrs.find("alpha");  // only where the activation has one
    const Activation a = activation_from_name("activation", name, alpha ? alpha->as_double() : std::nan(""));
    if (training && !act_grad_from_output(a.act)) continue;  // the fused op would have to keep its input anyway
    Json fused_attrs = with_attr(attrs, "activation", name);
    if (attrs.find("alpha") != nullptr) {
      fused_attrs = with_attr(std::move(fused_attrs), "alpha", a.alpha);
    } else if (a.act != Act::kRelu) {
      continue;  // ops without alpha (normalisation) fuse relu alone
    }
    OpPtr fused = OpRegistry::instance().make(std::string(r.node(i).op->name()), fused_attrs);
    const std::vector<int> out = act.out;
    r.remove(j);
    r.replace(static_cast<size_t>(i), std::move(fused), r.node(i).in, out);
  }
}

// A convolution and the max pooling by 2x2 behind it are one op: the convolution's whole output is never written. relu
// and the maximum of a window may change places.
void fuse_pools(GraphRewriter& r) {
  for (size_t j = 0; j < r.size(); ++j) {
    if (r.removed(j) || r.node(j).op->name() != "max_pool2d") continue;
    const int i = r.producer(r.node(j).in[0]);
    if (i < 0 || r.readers(r.node(j).in[0]) != 1 || r.node(i).op->name() != "conv2d") continue;
    const Json pool = r.node(j).op->attrs(), conv = r.node(i).op->attrs();
    const auto all = [&](const char* key, int64_t value) {
      const Json& list = pool.at(key);
      return list.is_array() && std::all_of(list.as_array().begin(), list.as_array().end(),
                                            [&](const Json& v) { return v.as_int() == value; });
    };
    if (!all("window", 2) || !all("stride", 2) || !all("dilation", 1) || !all("padding", 0)) continue;
    if (pool.at("ceil_mode").as_bool() || conv.find("pool") != nullptr) continue;
    const std::string& act = conv.at("activation").as_string();
    if (act != "identity" && act != "relu") continue;
    OpPtr fused = OpRegistry::instance().make("conv2d", with_attr(conv, "pool", true));
    const std::vector<int> out = r.node(j).out;
    r.remove(j);
    r.replace(static_cast<size_t>(i), std::move(fused), r.node(i).in, out);
  }
}

// A batch norm by running statistics behind a convolution or a dense layer is a factor per output channel: it goes into
// the weights and the bias. What is computed from parameters alone, a plan computes once per change of them.
void fold_batch_norm(GraphRewriter& r) {
  for (size_t j = 0; j < r.size(); ++j) {
    if (r.removed(j) || r.node(j).op->name() != "batch_norm") continue;
    const Node norm = r.node(j);
    const int i = r.producer(norm.in[0]);
    if (i < 0 || r.readers(norm.in[0]) != 1 || norm.in.size() < 5 || norm.in[3] < 0) continue;
    const Node before = r.node(static_cast<size_t>(i));
    const std::string_view name = before.op->name();
    // The weights of these end in the output channels.
    if (name != "conv2d" && name != "conv1d" && name != "dense") continue;
    const Json before_attrs = before.op->attrs(), norm_attrs = norm.op->attrs();
    if (before_attrs.at("activation").as_string() != "identity") continue;
    bool given = true;
    for (size_t k = 1; k < 5; ++k) given &= norm.in[k] < 0 || r.is_given(norm.in[k]);
    for (size_t k = 1; k < before.in.size(); ++k) given &= before.in[k] < 0 || r.is_given(before.in[k]);
    if (!given) continue;

    auto at = static_cast<size_t>(i);
    const auto make = [&](const char* op, std::vector<int> in) {
      return r.insert(at++, OpRegistry::instance().make(op, {}), std::move(in));
    };
    const int gamma = norm.in[1], beta = norm.in[2], mean = norm.in[3], var = norm.in[4];
    int scale = make("rsqrt", {make("add", {var, r.scalar(r.spec(var).dtype, norm_attrs.at("eps").as_double())})});
    if (gamma >= 0) scale = make("mul", {scale, gamma});
    const int weight = make("mul", {before.in[1], scale});
    const int old_bias = before.in.size() > 2 ? before.in[2] : -1;
    int bias = make("mul", {old_bias >= 0 ? make("sub", {old_bias, mean}) : make("neg", {mean}), scale});
    if (beta >= 0) bias = make("add", {bias, beta});
    r.remove(j + (at - static_cast<size_t>(i)));
    r.replace(at,
              OpRegistry::instance().make(
                  std::string(name), with_attr(before_attrs, "activation", norm_attrs.at("activation").as_string())),
              {before.in[0], weight, bias}, norm.out);
  }
}

std::vector<int64_t> permutation_of(const Node& n) {
  std::vector<int64_t> p;
  for (const Json& d : n.op->attrs().at("perm").as_array()) p.push_back(d.as_int());
  return p;
}

// NCHW faces wrap each layer in transposes: move them behind elementwise ops, then drop pairs that undo each other.
void cancel_transposes(GraphRewriter& r) {
  bool changed = true;
  while (changed) {
    changed = false;
    for (size_t j = 0; j < r.size(); ++j) {
      if (r.removed(j)) continue;
      const Node& n = r.node(j);
      const int i = n.in.empty() ? -1 : r.producer(n.in[0]);
      if (i < 0 || r.node(i).op->name() != "transpose") continue;
      const Node& before = r.node(i);
      if (n.op->name() == "transpose") {
        const std::vector<int64_t> p = permutation_of(before), q = permutation_of(n);
        bool identity = true;
        std::vector<int64_t> both(p.size());
        Json::Array perm;
        for (size_t d = 0; d < p.size(); ++d) {
          both[d] = p[static_cast<size_t>(q[d])];
          identity &= both[d] == static_cast<int64_t>(d);
          perm.push_back(both[d]);
        }
        const int source = before.in[0];
        if (identity) {
          const int gone = n.out[0];
          r.remove(j);
          r.redirect(gone, source);
        } else {
          r.replace(j, OpRegistry::instance().make("transpose", Json::Object{{"perm", perm}}), {source}, n.out);
        }
        changed = true;
      } else if (n.op->name() == "activation" && r.readers(n.in[0]) == 1) {
        // act(transpose(x)) = transpose(act(x)): the two nodes swap their work, the inner value changes shape.
        const OpPtr act = n.op, transpose = before.op;
        const int source = before.in[0], middle = before.out[0], out = n.out[0];
        r.replace(static_cast<size_t>(i), act, {source}, {middle});
        r.replace(j, transpose, {middle}, {out});
        changed = true;
      }
    }
    r.remove_dead();
  }
}

// The loss on logits that equals `loss` on the outputs of `last`, or nullptr. It takes the same attributes, save for
// the bound that keeps probabilities off 0.
OpPtr loss_on_logits(const Op& loss, const Op& last, int rank) {
  const Json last_attrs = last.attrs();
  const char* name = nullptr;
  if (loss.name() == "cross_entropy" && last.name() == "softmax") {
    const int64_t axis = last_attrs.at("axis").as_int();
    if (axis == -1 || axis == rank - 1) name = "softmax_cross_entropy";
  } else if (loss.name() == "bce_loss" && last.name() == "activation") {
    if (last_attrs.at("activation").as_string() == "sigmoid") name = "bce_with_logits_loss";
  }
  if (name == nullptr) return nullptr;
  Json::Object kept;
  const Json attrs = loss.attrs();
  for (const auto& [key, value] : attrs.as_object())
    if (key != "epsilon") kept.emplace_back(key, value);
  return OpRegistry::instance().make(name, kept);
}

// softmax or sigmoid followed by a cross-entropy on probabilities is the cross-entropy on logits, exact and one pass.
// Accuracies compare classes by order, which softmax keeps.
void join_softmax_with_loss(GraphRewriter& r) {
  for (size_t j = 0; j < r.size(); ++j) {
    if (r.removed(j)) continue;
    const Node& loss = r.node(j);
    const int i = r.producer(loss.in[0]);
    if (i < 0) continue;
    const Node& last = r.node(i);
    OpPtr joined = loss_on_logits(*loss.op, *last.op, r.spec(last.in[0]).shape.rank());
    if (joined == nullptr) continue;
    std::vector<int> in = loss.in;
    in[0] = last.in[0];
    r.replace(j, std::move(joined), in, loss.out);
    for (size_t k = 0; k < r.size(); ++k) {
      if (r.removed(k) || r.node(k).op->name() != "metric_accuracy" || r.node(k).in[0] != last.out[0]) continue;
      const Json attrs = r.node(k).op->attrs();
      if (attrs.at("kind").as_string() == "binary") continue;  // its threshold is on probabilities
      std::vector<int> metric_in = r.node(k).in;
      metric_in[0] = last.in[0];
      r.replace(k, r.node(k).op, metric_in, r.node(k).out);
    }
  }
}

}  // namespace

Graph optimize(const Graph& graph, std::vector<int>& results, bool training) {
  GraphRewriter r(graph, results);
  r.remove_dead();
  join_softmax_with_loss(r);
  r.remove_dead();
  cancel_transposes(r);
  if (!training) fold_batch_norm(r);
  fuse_activations(r, training);
  fuse_pools(r);
  fuse_activations(r, training);
  r.remove_dead();
  return r.take();
}

}  // namespace lamella
