"""Attention layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import autograd as ag
from .. import initializers
from .._errors import short
from .._functional.attention import attention
from .._functional.layers import dense
from .._functional.masks import both, counting
from ..autograd import Tensor
from ._arguments import fraction, positive
from ._structures import flatten
from .base import Layer
from .regularization import checked_seed

__all__ = ["AdditiveAttention", "Attention", "MultiHeadAttention"]


def _steps_shape(mask: Any, steps: tuple[int, ...]) -> Any:
    return counting(mask).reshape(-1, math.prod(steps))


class _Projection(Layer):
    """A dense layer whose weights are shown in more dimensions than they have: a kernel (in..., out...)."""

    supports_masking = True

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...], options: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._inputs, self._outputs = inputs, outputs
        self.__dict__["_options_of"] = options  # the layer that this one belongs to, not the other way round

    def build(self, input_shape: Any) -> None:
        o = self._options_of
        rows, columns = math.prod(self._inputs), math.prod(self._outputs)

        def shaped(initializer: Any, shape: tuple[int, ...]) -> Any:
            # The fans are those of the shape that is shown.
            return lambda flat, dtype: np.asarray(initializer(shape, dtype)).reshape(flat)

        self.add_weight(
            (rows, columns), shaped(o.kernel_initializer, (*self._inputs, *self._outputs)), name="kernel",
            regularizer=o.kernel_regularizer, constraint=o.kernel_constraint,
        )  # fmt: skip
        if o.use_bias:
            self.add_weight(
                (columns,), shaped(o.bias_initializer, self._outputs), name="bias", regularizer=o.bias_regularizer,
                constraint=o.bias_constraint,
            )  # fmt: skip

    def call(self, inputs: Tensor) -> Tensor:
        return dense(inputs, self.kernel, self.bias if self._options_of.use_bias else None)

    def get_weights(self) -> list[np.ndarray]:
        shapes = (*self._inputs, *self._outputs), self._outputs
        return [a.reshape(s) for a, s in zip(super().get_weights(), shapes, strict=False)]

    def _assign_weights(self, arrays: Any) -> None:
        given = [next(arrays) for _ in range(len(self._parameters))]
        super()._assign_weights(
            iter([a.reshape(p.shape) for a, p in zip(given, self._parameters.values(), strict=True)])
        )


class MultiHeadAttention(Layer):
    """Attention of several heads over projections of its inputs (Vaswani et al. 2017).

    Called with ``(query, value, key=None)`` of shapes (n, t, features) and (n, s, features); the key is the value
    unless it is given. Inputs of more dimensions attend over all of them but the first and the last. The masks of the
    inputs, `attention_mask`, `use_causal_mask` and `sliding_window` act together; a query that sees no key gets zeros
    before the output projection.

    Parameters
    ----------
    num_heads : int
    key_dim : int
        Size of a head's queries and keys.
    value_dim : int, optional
        Size of a head's values; default: key_dim.
    dropout : float
        Probability with which an attention weight is dropped in training.
    use_bias : bool
    output_shape : int or tuple of int, optional
        What the last dimension becomes; default: the query's size.
    attention_axes : None
        Attention is over all axes: must be None, or name all of them.
    sliding_window : int, optional
        A query sees keys that are less than so many steps away.
    flash_attention : bool, optional
        Accepted for Keras' sake: the weights are never held all at once unless they are asked for.
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    use_gate : bool
        Multiply each head's result by a sigmoid of a projection of the query.
    seed : int, optional
        Of the dropout.
    """

    supports_masking = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        label = type(self).__name__
        self.seed = checked_seed(label, seed)
        self.num_heads, self.key_dim = (
            positive(num_heads, f"{label}: num_heads"),
            positive(key_dim, f"{label}: key_dim"),
        )
        self.value_dim = self.key_dim if value_dim is None else positive(value_dim, f"{label}: value_dim")
        self.dropout = fraction(dropout, f"{label}: dropout")
        self.use_bias, self.use_gate = bool(use_bias), bool(use_gate)
        if flash_attention not in (None, True, False):
            raise ValueError(f"{label}: flash_attention: expected True, False or None, got {short(flash_attention)}")
        self.flash_attention = flash_attention
        if output_shape is not None:
            sizes = output_shape if isinstance(output_shape, (tuple, list)) else (output_shape,)
            output_shape = tuple(positive(d, f"{label}: output_shape") for d in sizes)
        self._output_sizes = output_shape
        if attention_axes is not None and not isinstance(attention_axes, (int, tuple, list)):
            raise ValueError(
                f"{label}: attention_axes: expected an int or a tuple of them, got {short(attention_axes)}"
            )
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        self.sliding_window = None if sliding_window is None else positive(sliding_window, f"{label}: sliding_window")
        self._set_weight_options(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    # -- weights --

    def __call__(self, query: Any, value: Any = None, key: Any = None, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        if value is None:
            raise TypeError(f"{self.name}: value: expected a tensor, got None")
        if not self.built:
            shapes = [getattr(t, "shape", None) or np.shape(t) for t in (query, value, value if key is None else key)]
            self.build(*shapes)
            self.built = True
            self.__dict__.setdefault("_build_shape", (None, *shapes[0][1:]))
        return super().__call__(query, value, key, *args, **kwargs)

    def build(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> None:
        value_shape = query_shape if value_shape is None else value_shape
        key_shape = value_shape if key_shape is None else key_shape
        for what, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            if len(shape) < 3 or shape[-1] is None:
                raise ValueError(f"{self.name}: {what}: expected (n, steps, features), got shape {tuple(shape)}")
        heads, axes = self.num_heads, tuple(range(1, len(query_shape) - 1))
        given = self.attention_axes
        if given is not None and sorted(a % (len(query_shape)) for a in given) != list(axes):
            raise NotImplementedError(
                f"{self.name}: attention_axes: expected None or all of {axes}, got {tuple(given)}"
            )
        outputs = self._output_sizes or (query_shape[-1],)

        def project(inputs: tuple[int, ...], sizes: tuple[int, ...], name: str) -> _Projection:
            made = _Projection(inputs, sizes, self, name=name, dtype=self.compute_dtype, trainable=self._trainable)
            made._build((None, math.prod(inputs)))
            return made

        self.query_dense = project((query_shape[-1],), (heads, self.key_dim), "query")
        self.key_dense = project((key_shape[-1],), (heads, self.key_dim), "key")
        if self.use_gate:
            self._gate_dense = project((query_shape[-1],), (heads, self.value_dim), "gate")
        self.value_dense = project((value_shape[-1],), (heads, self.value_dim), "value")
        self.output_dense = project((heads, self.value_dim), outputs, "attention_output")

    # -- running --

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        # The masks that the inputs carry, where none are given.
        query_mask = self._mask_of(query) if query_mask is None else query_mask
        value_mask = self._mask_of(value) if value_mask is None else value_mask
        if key is None or key is value:
            key, key_mask = value, None
        elif key_mask is None:
            key_mask = self._mask_of(key)
        before, after = tuple(query.shape[1:-1]), tuple(value.shape[1:-1])
        if tuple(key.shape[1:-1]) != after:
            raise ValueError(f"{self.name}: key: expected steps {after} as in value, got {tuple(key.shape[1:-1])}")
        q, k, v = (
            d(t if len(t.shape) == 3 else t.reshape(-1, math.prod(t.shape[1:-1]), t.shape[-1]))
            for d, t in ((self.query_dense, query), (self.key_dense, key), (self.value_dense, value))
        )
        steps = both(
            None if value_mask is None else _steps_shape(value_mask, after),
            None if key_mask is None else _steps_shape(key_mask, after),
        )
        found = attention(
            q, k, v,
            self._whole_mask(query_mask, attention_mask, before, after), steps,
            heads=self.num_heads, causal=use_causal_mask, dropout=self.dropout if training else 0.0,
            weights="plain" if return_attention_scores else "none", seed=self.seed,
        )  # fmt: skip
        out = found[0] if return_attention_scores else found
        if self.use_gate:
            out = out * self._gate_dense(query.reshape(-1, math.prod(before), query.shape[-1])).sigmoid()
        y = self.output_dense(out)
        sizes = self._output_sizes or (query.shape[-1],)
        if len(sizes) > 1 or len(before) > 1:
            y = y.reshape(-1, *before, *sizes)
        if not return_attention_scores:
            return y
        scores = found[1]
        return y, (scores if len(before) == len(after) == 1 else scores.reshape(-1, self.num_heads, *before, *after))

    def _whole_mask(self, query_mask: Any, given: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
        """What masks say about pairs of queries and keys, to broadcast with (n, heads, t, s)."""
        t, s = math.prod(before), math.prod(after)
        pairs = None
        if given is not None:
            mask = counting(given)
            heads = len(mask.shape) - len(before) - len(after) == 2
            pairs = mask.reshape(-1, mask.shape[1] if heads else 1, t, s)
        if self.sliding_window is not None:
            near = np.abs(np.arange(t)[:, None] - np.arange(s)) < self.sliding_window
            pairs = both(pairs, ag.wrap(near.reshape(1, 1, t, s)))
        if query_mask is not None:
            pairs = both(pairs, counting(query_mask).reshape(-1, 1, t, 1))
        return pairs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "output_shape": None if self._output_sizes is None else list(self._output_sizes),
            "attention_axes": None if self.attention_axes is None else list(self.attention_axes),
            "sliding_window": self.sliding_window,
            "flash_attention": self.flash_attention,
            **self._weight_config(),
            "use_gate": self.use_gate,
            "seed": self.seed,
        }


class Attention(Layer):
    """Dot-product attention (Luong et al. 2015) of a list [query, value] or [query, value, key].

    Parameters
    ----------
    use_scale : bool
        Multiply the scores by a scalar that is trained.
    score_mode : {"dot", "concat"}
        Scores are q . k, or a trained scalar times the sum of tanh(q + k).
    dropout : float
        Probability with which an attention weight is dropped in training.
    """

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        label = type(self).__name__
        self.seed = checked_seed(label, seed)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"{label}: score_mode: expected 'dot' or 'concat', got {short(score_mode)}")
        self.use_scale, self.score_mode = bool(use_scale), score_mode
        self.dropout = fraction(dropout, f"{label}: dropout")

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        if self.use_scale:
            self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.add_weight((), "ones", name="concat_score_weight")

    def _check(self, inputs: Any, mask: Any = None) -> None:
        if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
            got = f"{len(inputs)} of them" if isinstance(inputs, (list, tuple)) else type(inputs).__name__
            raise ValueError(f"{self.name}: inputs: expected a list [query, value] or [query, value, key], got {got}")
        if mask is not None and (not isinstance(mask, (list, tuple)) or len(mask) not in (2, 3)):
            raise ValueError(f"{self.name}: mask: expected a list [query_mask, value_mask], got {type(mask).__name__}")

    def _added_scores(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Scores (n, t, s) that are no products; None where they are."""
        if self.score_mode == "dot":
            return None
        total = query.unsqueeze(-2) + key.unsqueeze(-3)
        return (total * self.scale if self.use_scale else total).tanh().sum(-1) * self.concat_score_weight

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._check(inputs, mask)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        query_mask, value_mask = mask[:2] if mask else (None, None)
        scores = self._added_scores(query, key)
        if scores is None:
            q, k = (query * self.scale if self.use_scale else query), key
        else:  # as the product's mask, of queries and keys without features
            q, k, scores = query[..., :0], key[..., :0], scores.unsqueeze(1)
        found = attention(
            q, k, value, scores, None if value_mask is None else counting(value_mask),
            scale=1.0, causal=use_causal_mask, dropout=self.dropout if training else 0.0,
            weights="dropped" if return_attention_scores else "none", seed=self.seed,
        )  # fmt: skip
        out = found[0] if return_attention_scores else found
        if query_mask is not None:
            out = out * counting(query_mask).to(out.dtype).unsqueeze(-1)
        return (out, found[1].squeeze(1)) if return_attention_scores else out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return flatten(previous_mask)[0] if previous_mask is not None else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class AdditiveAttention(Attention):
    """Additive attention (Bahdanau et al. 2015): scores are the sum of ``scale * tanh(query + key)``.

    Parameters
    ----------
    use_scale : bool
        Whether `scale` is a vector that is trained.
    dropout : float
        Probability with which an attention weight is dropped in training.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale, "concat", dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        if self.use_scale:
            self.add_weight((input_shape[0][-1],), initializers.get("glorot_uniform"), name="scale")

    def _added_scores(self, query: Tensor, key: Tensor) -> Tensor:
        total = (query.unsqueeze(-2) + key.unsqueeze(-3)).tanh()
        return (total * self.scale if self.use_scale else total).sum(-1)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k != "score_mode"}
