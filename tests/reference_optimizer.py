"""The optimizers in NumPy float64, each rule as its library documents it.

Every function updates one parameter: f(w, g, state, t, h) returns the new w; `state` is a dict that it fills, h the
hyper-parameters with all defaults filled in.
"""

from __future__ import annotations

import numpy as np


def sgd(w, g, s, t, h):
    if h["momentum"] == 0:
        return w - h["learning_rate"] * g
    if h["velocity"]:  # Keras
        s["buf"] = h["momentum"] * s.get("buf", 0.0) - h["learning_rate"] * g
        if h["nesterov"]:
            return w + h["momentum"] * s["buf"] - h["learning_rate"] * g
        return w + s["buf"]
    s["buf"] = g if t == 1 else h["momentum"] * s["buf"] + (1 - h["dampening"]) * g
    d = g + h["momentum"] * s["buf"] if h["nesterov"] else s["buf"]
    return w - h["learning_rate"] * d


def adam(w, g, s, t, h):
    b1, b2 = h["beta1"], h["beta2"]
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
    v = s["v"]
    if h["amsgrad"]:
        v = s["top"] = np.maximum(s.get("top", 0.0), v)
    if h["eps_hat"]:  # Keras
        alpha = h["learning_rate"] * np.sqrt(1 - b2**t) / (1 - b1**t)
        return w - alpha * s["m"] / (np.sqrt(v) + h["eps"])
    return w - h["learning_rate"] / (1 - b1**t) * s["m"] / (np.sqrt(v / (1 - b2**t)) + h["eps"])


def rmsprop(w, g, s, t, h):
    rho, lr = h["rho"], h["learning_rate"]
    s["v"] = rho * s.get("v", 0.0) + (1 - rho) * g * g
    v = s["v"]
    if h["centered"]:
        s["mean"] = rho * s.get("mean", 0.0) + (1 - rho) * g
        v = np.maximum(v - s["mean"] ** 2, 0)
    d = g / np.sqrt(v + h["eps"]) if h["eps_inside"] else g / (np.sqrt(v) + h["eps"])
    if h["momentum"] == 0:
        return w - lr * d
    if h["velocity"]:  # Keras
        s["buf"] = h["momentum"] * s.get("buf", 0.0) + lr * d
        return w - s["buf"]
    s["buf"] = h["momentum"] * s.get("buf", 0.0) + d
    return w - lr * s["buf"]


def adagrad(w, g, s, t, h):
    s["sum"] = s.get("sum", h["initial_accumulator"]) + g * g
    lr = h["learning_rate"] / (1 + (t - 1) * h["lr_decay"])
    return w - lr * (g / np.sqrt(s["sum"] + h["eps"]) if h["eps_inside"] else g / (np.sqrt(s["sum"]) + h["eps"]))


def adadelta(w, g, s, t, h):
    rho = h["rho"]
    s["v"] = rho * s.get("v", 0.0) + (1 - rho) * g * g
    d = np.sqrt(s.get("steps", 0.0) + h["eps"]) / np.sqrt(s["v"] + h["eps"]) * g
    s["steps"] = rho * s.get("steps", 0.0) + (1 - rho) * d * d
    return w - h["learning_rate"] * d


def adamax(w, g, s, t, h):
    b1, b2 = h["beta1"], h["beta2"]
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    lr = h["learning_rate"] / (1 - b1**t)
    if h["eps_inside"]:  # PyTorch
        s["u"] = np.maximum(b2 * s.get("u", 0.0), np.abs(g) + h["eps"])
        return w - lr * s["m"] / s["u"]
    s["u"] = np.maximum(b2 * s.get("u", 0.0), np.abs(g))
    return w - lr * s["m"] / (s["u"] + h["eps"])


def nadam(w, g, s, t, h):
    b1, b2, lr = h["beta1"], h["beta2"], h["learning_rate"]
    mu, mu_next = (b1 * (1 - 0.5 * 0.96 ** (i * h["momentum_decay"])) for i in (t, t + 1))
    s["product"] = s.get("product", 1.0) * mu
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
    d = np.sqrt(s["v"] / (1 - b2**t)) + h["eps"]
    w = w - lr * (1 - mu) / (1 - s["product"]) * g / d
    return w - lr * mu_next / (1 - s["product"] * mu_next) * s["m"] / d


def lion(w, g, s, t, h):
    m = s.get("m", 0.0)
    s["m"] = h["beta2"] * m + (1 - h["beta2"]) * g
    return w - h["learning_rate"] * np.sign(h["beta1"] * m + (1 - h["beta1"]) * g)


def radam(w, g, s, t, h):
    b1, b2 = h["beta1"], h["beta2"]
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
    m = s["m"] / (1 - b1**t)
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    if length <= 5:
        return w - h["learning_rate"] * m
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return w - h["learning_rate"] * m * np.sqrt(rectified * (1 - b2**t)) / (np.sqrt(s["v"]) + h["eps"])


def ftrl(w, g, s, t, h):
    lr, n = h["learning_rate"], s.get("n", h["initial_accumulator"])
    s["n"] = n + g * g
    s["z"] = s.get("z", 0.0) + g + 2 * h["l2_shrinkage"] * w - (s["n"] ** h["power"] - n ** h["power"]) / lr * w
    quadratic = s["n"] ** h["power"] / lr + 2 * (h["l2"] + h["beta"] / (2 * lr))
    return (np.clip(s["z"], -h["l1"], h["l1"]) - s["z"]) / quadratic


RULES = {f.__name__: f for f in (sgd, adam, rmsprop, adagrad, adadelta, adamax, nadam, lion, radam, ftrl)}


def step(name, params, grads, states, t, h, grad_scale=1.0):
    """New parameters; h as from `_cpu.Optimizer.hyper`."""
    grads = [np.asarray(g, np.float64) * grad_scale for g in grads]
    norms = [np.sqrt((g * g).sum()) for g in grads]
    total = np.sqrt(sum(n * n for n in norms))
    out = []
    for w, g, s, norm in zip(params, grads, states, norms, strict=True):
        if h["clipnorm"] and norm > h["clipnorm"]:
            g = g * (h["clipnorm"] / norm)
        if h["global_clipnorm"] and total > h["global_clipnorm"]:
            g = g * (h["global_clipnorm"] / total)
        if h["clipvalue"]:
            g = np.clip(g, -h["clipvalue"], h["clipvalue"])
        if h["maximize"]:
            g = -g
        if h["decoupled"]:
            g, w = g, w * (1 - h["learning_rate"] * h["weight_decay"])
        else:
            g = g + h["weight_decay"] * w
        out.append(RULES[name](w, g, s, t, h))
    return out
