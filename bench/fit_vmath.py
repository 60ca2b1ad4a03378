"""Minimax fits behind csrc/kernels/cpu/vmath.h and its neighbours; prints their coefficient tables. Needs mpmath.

Polynomials are fitted by the Remez exchange, quotients by Lawson's rule, in 60 digits; the weights make the error
relative to the function itself.
"""

import argparse

import mpmath as mp
import numpy as np

mp.mp.dps = 60


def remez(f, weight, lo, hi, powers, iterations=40):
    """The sum of c[i] x^powers[i] nearest to f on [lo, hi] in the weighted maximum norm: c, and its distance."""
    n = len(powers)
    grid_size = 40 * (n + 2)
    grid = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * mp.mpf(i) / grid_size) for i in range(grid_size + 1)]
    grid = [x for x in grid if abs(x) > mp.mpf("1e-9")]
    fg = [f(x) for x in grid]
    wg = [weight(x) for x in grid]
    step = (len(grid) - 1) / n
    points = [round(i * step) for i in range(n + 1)]
    best = None
    for _ in range(iterations):
        a = mp.matrix(n + 1, n + 1)
        b = mp.matrix(n + 1, 1)
        for row, j in enumerate(points):
            for i, p in enumerate(powers):
                a[row, i] = grid[j] ** p
            a[row, n] = (-1) ** row / wg[j]
            b[row] = fg[j]
        solution = mp.lu_solve(a, b)
        c = [solution[i] for i in range(n)]
        err = [
            w * (y - sum(ci * x**p for ci, p in zip(c, powers, strict=True)))
            for x, y, w in zip(grid, fg, wg, strict=True)
        ]
        # Alternating extrema of the error: the largest of each run of one sign, then the n + 1 consecutive largest.
        runs = []
        for j, e in enumerate(err):
            if runs and (err[runs[-1]] > 0) == (e > 0):
                if abs(e) > abs(err[runs[-1]]):
                    runs[-1] = j
            else:
                runs.append(j)
        worst = max(abs(e) for e in err)
        best = (c, worst)
        while len(runs) > n + 1:
            runs.pop(0 if abs(err[runs[0]]) < abs(err[runs[-1]]) else -1)
        if len(runs) < n + 1 or runs == points:
            break
        points = runs
    return best


def lawson(f, weight, lo, hi, m, n, iterations=80):
    """P of degree m and Q of degree n, Q(0) = 1, with P / Q nearest to f on [lo, hi] in the weighted maximum norm.

    Least squares on f Q - P over the last Q, where the points that err most weigh more from round to round.
    """
    steps = 20 * (m + n)
    grid = [lo + (hi - lo) * mp.expm1(mp.mpf(5 * i) / steps) / mp.expm1(5) for i in range(steps + 1)]  # denser at lo
    rows = [[x**i for i in range(max(m, n) + 1)] for x in grid]
    fg, wg = [f(x) for x in grid], [weight(x) for x in grid]
    share, q = [mp.mpf(1)] * len(grid), [mp.mpf(1)] * len(grid)
    best = None
    for _ in range(iterations):
        a, b = mp.matrix(m + n + 1, m + n + 1), mp.matrix(m + n + 1, 1)
        for powers, y, w, s, d in zip(rows, fg, wg, share, q, strict=True):
            row = powers[: m + 1] + [-y * v for v in powers[1 : n + 1]]
            for i, v in enumerate(row):
                scaled = s * (w / d) ** 2 * v
                b[i] += scaled * y
                for j, u in enumerate(row):
                    a[i, j] += scaled * u
        solution = list(mp.lu_solve(a, b))
        c, e = solution[: m + 1], [mp.mpf(1), *solution[m + 1 :]]
        q = [mp.fdot(e, powers[: n + 1]) for powers in rows]
        err = [w * abs(mp.fdot(c, powers[: m + 1]) / d - y) for powers, y, w, d in zip(rows, fg, wg, q, strict=True)]
        worst = max(err)
        if best is None or worst < best[2]:
            best = (c, e, worst)
        share = [s * r / worst + mp.mpf("1e-30") for s, r in zip(share, err, strict=True)]
    return best


def show(c, kind):
    for x in c:
        single = np.format_float_positional(np.float32(float(x)), unique=True) + "f"
        print(single if kind == "float" else repr(float(x)), end=",\n")


def fit_rational(name, f, weight, lo, hi, m, n, kind):
    """Fits P of degree m over Q of degree n, prints both and the largest weighted error."""
    p, q, worst = lawson(f, weight, mp.mpf(lo), mp.mpf(hi), m, n)
    print(f"// {name}: 2^{float(mp.log(worst, 2)):.1f}; P, then Q")
    show(p, kind)
    show(q, kind)


def fit(name, f, weight, lo, hi, degree, kind):
    """Fits degree + 1 coefficients, prints them rounded to `kind` and the largest weighted error before and after."""
    lo, hi = mp.mpf(lo), mp.mpf(hi)
    c, worst = remez(f, weight, lo, hi, list(range(degree + 1)))
    rounded = [mp.mpf(float(np.float32(float(x))) if kind == "float" else float(x)) for x in c]
    samples = [lo + (hi - lo) * mp.mpf(i) / 2001 for i in range(2002)]
    after = max(
        abs(weight(x) * (f(x) - sum(c * x**i for i, c in enumerate(rounded)))) for x in samples if abs(x) > 1e-9
    )
    print(f"// {name}: 2^{float(mp.log(worst, 2)):.1f}, rounded 2^{float(mp.log(after, 2)):.1f}")
    show(rounded, kind)


def series(direct, terms, cut):
    """direct(x) except near 0, where the Taylor series `terms` (a function of i) avoids cancellation."""

    def f(x):
        if abs(x) > cut:
            return direct(x)
        return sum(terms(i) * x**i for i in range(80))

    return f


LN2_2 = mp.log(2) / 2 * mp.mpf("1.0001")
exp_q = series(lambda r: (mp.expm1(r) - r) / r**2, lambda i: 1 / mp.factorial(i + 2), mp.mpf("0.01"))
log_p = series(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, lambda i: mp.mpf(-1) ** i / (i + 3), mp.mpf("0.01"))


def log_r(z):
    """log((1 + s) / (1 - s)) = 2 s + s z R(z), z = s^2."""
    s = mp.sqrt(z)
    if z < mp.mpf("1e-4"):
        return sum(2 * z**i / mp.mpf(2 * i + 3) for i in range(60))
    return (mp.log((1 + s) / (1 - s)) / s - 2) / z


def log_r2(z):
    """log_r without its first term 2/3, over z."""
    if z < mp.mpf("1e-4"):
        return sum(2 * z ** (i - 1) / mp.mpf(2 * i + 3) for i in range(1, 60))
    return (log_r(z) - mp.mpf(2) / 3) / z


def sin_s(z):
    """sin(x) = x + x z S(z), z = x^2."""
    return sum(mp.mpf(-1) ** (i + 1) * z**i / mp.factorial(2 * i + 3) for i in range(30))


def cos_c(z):
    """cos(x) = 1 - z / 2 + z^2 C(z), z = x^2."""
    return sum(mp.mpf(-1) ** i * z**i / mp.factorial(2 * i + 4) for i in range(30))


def erf_p(z):
    """erf(x) = x + x P(z), z = x^2."""
    x = mp.sqrt(z)
    return mp.erf(x) / x - 1 if z > 0 else 2 / mp.sqrt(mp.pi) - 1


exp2_q = series(lambda r: (2**r - 1) / r, lambda i: mp.log(2) ** (i + 1) / mp.factorial(i + 1), mp.mpf("0.01"))


def tanh_over_x(z):
    x = mp.sqrt(z)
    return mp.tanh(x) / x if z > mp.mpf("1e-12") else 1 - z / 3


NORMAL_TAIL_K = mp.mpf(float(np.float32(mp.sqrt(2 * mp.pi))))


def normal_tail_scale(a):
    """(2 + k a) exp(a^2 / 2) Phi(-a)."""
    return (2 + NORMAL_TAIL_K * a) * mp.erfc(a / mp.sqrt(2)) * mp.exp(a * a / 2) / 2


def normal_quantile(w):
    """sqrt(2) erfinv(x) / x as a function of w = -log(1 - x^2)."""
    if w < mp.mpf("1e-8"):
        return mp.sqrt(mp.pi / 2)
    x = mp.sqrt(-mp.expm1(-w))
    return mp.sqrt(2) * mp.erfinv(x) / x


FITS = {
    "exp": lambda d, k: fit("exp: 1 + r + r^2 q(r)", exp_q, lambda r: r * r / mp.exp(r), -LN2_2, LN2_2, d, k),
    "expm1": lambda d, k: fit("expm1: r + r^2 q(r)", exp_q, lambda r: r * r / mp.expm1(r), -LN2_2, LN2_2, d, k),
    "log": lambda d, k: fit(
        "log1p: f - f^2/2 + f^3 p(f)",
        log_p,
        lambda f: f**3 / mp.log1p(f),
        mp.sqrt(mp.mpf("0.5")) * mp.mpf("0.9999") - 1,
        mp.sqrt(2) * mp.mpf("1.0001") - 1,
        d,
        k,
    ),
    "log_r": lambda d, k: fit(
        "atanh: 2 s + s z r(z)", log_r, lambda z: z / (2 + z * log_r(z)), "1e-8", "0.02945", d, k
    ),
    "log_r2": lambda d, k: fit("atanh: 2/3 + z r2(z)", log_r2, lambda z: z, "1e-8", "0.02945", d, k),
    "sin": lambda d, k: fit("sin: x + x z s(z)", sin_s, lambda z: z / (1 + z * sin_s(z)), "1e-8", "0.62", d, k),
    "cos": lambda d, k: fit(
        "cos: 1 - z/2 + z^2 c(z)", cos_c, lambda z: z * z / (1 - z / 2 + z * z * cos_c(z)), "1e-8", "0.62", d, k
    ),
    "erf_small": lambda d, k: fit("erf: x + x p(x^2)", erf_p, lambda z: 1 / (1 + erf_p(z)), "0", "0.88", d, k),
    "erf_large": lambda d, k: fit(
        "-log(erfc(x))", lambda a: -mp.log(mp.erfc(a)), lambda a: mp.erfc(a) / mp.erf(a), "0.93", "3.95", d, k
    ),
    # csrc/kernels/cpu/rnn_gates.h
    "exp2": lambda d, k: fit("2^r: 1 + r q(r)", exp2_q, lambda r: r / 2**r, "-0.5001", "0.5001", d, k),
    "tanh": lambda d, k: fit_rational(
        "tanh: x P(x^2) / Q(x^2)", tanh_over_x, lambda z: 1 / tanh_over_x(z), "0", 9.02**2, d, d, k
    ),
    # csrc/kernels/cpu/gelu_inl.h
    "normal_tail": lambda d, k: fit_rational(
        "(2 + k a) exp(a^2 / 2) Phi(-a) - 1: a P(a) / Q(a)",
        lambda a: (normal_tail_scale(a) - 1) / a if a > 0 else NORMAL_TAIL_K / 2 - mp.sqrt(2 / mp.pi),
        lambda a: a / normal_tail_scale(a),
        "0",
        "15",
        d,
        d + 2,
        k,
    ),
    # csrc/kernels/cpu/truncated_normal.h
    "quantile_center": lambda d, k: fit(
        "normal quantile, w < 5: x p(w - 2.5)",
        lambda t: normal_quantile(t + mp.mpf("2.5")),
        lambda t: 1 / normal_quantile(t + mp.mpf("2.5")),
        "-2.5",
        "2.5",
        d,
        k,
    ),
    "quantile_tail": lambda d, k: fit(
        "normal quantile, w >= 5: x p(sqrt(w) - 3)",
        lambda t: normal_quantile((t + 3) ** 2),
        lambda t: 1 / normal_quantile((t + 3) ** 2),
        "-0.765",
        "1.1",
        d,
        k,
    ),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("fit", choices=sorted(FITS))
    parser.add_argument("degree", type=int)
    parser.add_argument("kind", choices=["float", "double"])
    args = parser.parse_args()
    FITS[args.fit](args.degree, args.kind)
