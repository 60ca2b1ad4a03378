"""Modules, examples of arguments, and why some arguments differ."""

from __future__ import annotations

from typing import Any

import numpy as np

import lamella

MODULES = [
    ("lamella.nn", "torch.nn"),
    ("lamella.nn.functional", "torch.nn.functional"),
    ("lamella.nn.utils", "torch.nn.utils"),
    ("lamella.nn.utils.rnn", "torch.nn.utils.rnn"),
    ("lamella.nn.init", "torch.nn.init"),
    ("lamella.optim", "torch.optim"),
    ("lamella.optim.lr_scheduler", "torch.optim.lr_scheduler"),
    ("lamella.optim.swa_utils", "torch.optim.swa_utils"),
    ("lamella.utils.data", "torch.utils.data"),
    ("lamella.layers", "keras.layers"),
    ("lamella.models", "keras.models"),
    ("lamella.saving", "keras.saving"),
    ("lamella.losses", "keras.losses"),
    ("lamella.metrics", "keras.metrics"),
    ("lamella.callbacks", "keras.callbacks"),
    ("lamella.optimizers", "keras.optimizers"),
    ("lamella.optimizers.schedules", "keras.optimizers.schedules"),
    ("lamella.initializers", "keras.initializers"),
    ("lamella.regularizers", "keras.regularizers"),
    ("lamella.constraints", "keras.constraints"),
    ("lamella.activations", "keras.activations"),
    ("lamella.utils", "keras.utils"),
    ("lamella.applications", "keras.applications"),
    ("lamella.datasets", "keras.datasets"),
]

# Names that happen to be importable, but are no part of the interface that is documented.
PRIVATE = [
    "*_with_indices", "*DataPipe", "Container", "DataChunk", "LinearCrossEntropyOptions", "argument_validation",
    "assert_int_or_pair", "factory_kwargs", "functional_datapipe", "guaranteed_datapipes_determinism",
    "native_channel_shuffle", "non_deterministic", "runtime_validation*", "swap_in_optimizer_params_and_state",
]  # fmt: skip

# Classes whose own signatures tell nothing, and what they choose.
STANDS_FOR = {"keras.models.Model": "keras.src.models.functional.Functional"}

# Methods whose arguments are compared, too.
METHODS = {
    "torch.nn.Module": [
        "add_module", "apply", "buffers", "children", "double", "eval", "float", "get_parameter", "get_submodule",
        "load_state_dict", "modules", "named_buffers", "named_children", "named_modules", "named_parameters",
        "parameters", "register_buffer", "register_forward_hook", "register_forward_pre_hook", "register_module",
        "register_parameter", "requires_grad_", "state_dict", "to", "train", "zero_grad",
    ],
    "torch.optim.Optimizer": ["add_param_group", "load_state_dict", "state_dict", "step", "zero_grad"],
    "keras.models.Model": [
        "compile", "evaluate", "fit", "get_layer", "load_weights", "predict", "predict_on_batch", "save",
        "save_weights", "summary", "test_on_batch", "train_on_batch",
    ],
    "keras.models.Sequential": ["add", "build", "pop"],
    "keras.layers.Layer": ["add_weight", "count_params", "get_weights", "set_weights"],
}  # fmt: skip


def _parameters() -> list[Any]:
    return [lamella.nn.Parameter(lamella.ones(2))]


def _sgd() -> Any:
    return lamella.optim.SGD([{"params": _parameters(), "initial_lr": 0.1}], lr=0.1, momentum=0.9)


def _schedules() -> list[Any]:
    optimizer = _sgd()
    return [lamella.optim.lr_scheduler.ConstantLR(optimizer) for _ in range(2)]


# Values of arguments without a default, by name or by "owner.name"; "owner.*" are more of them. Functions are called.
REQUIRED: dict[str, Any] = {
    "in_features": 4,
    "out_features": 3,
    "in_channels": 4,
    "out_channels": 8,
    "kernel_size": 3,
    "num_embeddings": 5,
    "embedding_dim": 4,
    "num_features": 4,
    "normalized_shape": 4,
    "num_groups": 2,
    "num_channels": 4,
    "input_size": 3,
    "hidden_size": 2,
    "output_size": 2,
    "dim": 1,
    "unflattened_size": (2, 2),
    "padding": 1,
    "params": lambda: _parameters(),
    "optimizer": lambda: _sgd(),
    "lr_lambda": lambda: float,
    "step_size": 2,
    "milestones": lambda: [3],
    "gamma": 0.9,
    "T_max": 5,
    "T_0": 5,
    "max_lr": 0.1,
    "Transformer.*": {"d_model": 8, "nhead": 2, "dim_feedforward": 8},
    "OneCycleLR.*": {"total_steps": 10},
    "dataset": lambda: [1, 2, 3],
    "datasets": lambda: [[1], [2]],
    "data_source": lambda: [1, 2, 3],
    "sampler": lambda: [0, 1],
    "indices": lambda: [0],
    "weights": lambda: [1.0, 2.0],
    "num_samples": 2,
    "batch_size": 2,
    "drop_last": False,
    "units": 3,
    "filters": 4,
    "input_dim": 5,
    "output_dim": 3,
    "n": 2,
    "target_shape": (2,),
    "dims": (1,),
    "activation": "relu",
    "filepath": "model",
    "fn": lambda: abs,
    "rate": 0.5,
    "base_lr": 0.01,
    "swa_lr": 0.05,
    "schedulers": lambda: _schedules(),
    "model": lambda: lamella.nn.Linear(2, 2),
    "SGD.*": {"momentum": 0.9},
    "DataLoader.*": {"num_workers": 1},
    "Input.*": {"shape": (3,)},
    "num_bins": 4,
    "CategoryEncoding.*": {"num_tokens": 4},
    "Discretization.*": {"bin_boundaries": [0.0]},
    "pool_size": 2,
    "axes": 1,
    "function": lambda: abs,
    "stddev": 0.1,
    "factor": 0.2,
    "height_factor": 0.2,
    "width_factor": 0.2,
    "height": 4,
    "width": 4,
    "scale": 2.0,
    "num_heads": 2,
    "key_dim": 3,
    "layer": lambda: lamella.layers.LSTM(2),
    "cell": lambda: lamella.layers.LSTMCell(2),
    "cells": lambda: [lamella.layers.LSTMCell(2)],
    "InputLayer.*": {"shape": (3,)},
    "backup_dir": "backup",
    "CallbackList.callbacks": lambda: [],
    "CallbackList.params": lambda: {},
    "filename": "log.csv",
    "schedule": lambda: float,
    "initial_learning_rate": 0.1,
    "decay_steps": 10,
    "decay_rate": 0.9,
    "first_decay_steps": 5,
    "boundaries": lambda: [5],
    "values": lambda: [0.1, 0.01],
}
# Values other than the default, for arguments whose default does not suggest one.
PLAIN: dict[str, Any] = {
    "device": "cuda",
    "dtype": "float64",
    "padding_mode": "reflect",
    "max_norm": 1.0,
    "name": "somebody",
    "seed": 1,
    "trainable": False,
    "autocast": False,
    "data_format": "channels_first",
    "activity_regularizer": "l2",
    "kernel_constraint": "non_neg",
    "bias_constraint": "non_neg",
    "recurrent_constraint": "non_neg",
    "embeddings_constraint": "non_neg",
    "beta_constraint": "non_neg",
    "gamma_constraint": "non_neg",
    "depthwise_constraint": "non_neg",
    "lora_rank": 2,
    "lora_alpha": 2,
    "quantization_config": "int8",
    "clipnorm": 1.0,
    "clipvalue": 1.0,
    "global_clipnorm": 1.0,
    "weight_decay": 0.01,
    "ema_overwrite_frequency": 2,
    "loss_scale_factor": 2.0,
    "gradient_accumulation_steps": 2,
    "size_average": True,
    "reduce": True,
    "generator": np.random.default_rng,
    "noise_shape": (None, 1),
    "max_value": 6.0,
    "synchronized": True,
    "last_epoch": 3,
    "sparse": True,
}

# (names, how they differ, why): names are patterns of "module.name(argument)", how is a regular expression of what is
# found: "by keyword", "no effect", "`0.1` instead of `0.2`", "place 2 instead of 3"; or "values" where nothing is, but
# only some values are taken, or have an effect.
NOTES: list[tuple[str, str, str]] = [
    ("lamella.*(foreach) lamella.*(fused)", "no effect", "A hint how to compute; every step is one fused native call."),
    ("lamella.*(inplace)", "no effect", "Nothing is written in place; what can be seen is the same."),
    ("lamella.*(pin_memory*)", "no effect", "There is no device to pin memory for."),
    (
        "lamella.layers.*(unroll) lamella.layers.*(use_cudnn)",
        "no effect|values",
        "A hint how to compute; there is one way here.",
    ),
    (
        "lamella.nn.functional.*(*)",
        "^place",
        "PyTorch's retired arguments (`size_average`, `reduce`, `_stacklevel`) take no places here.",
    ),
    ("lamella.nn.GRU(dtype)", "^place", "As PyTorch's other recurrent layers have it."),
    ("lamella.nn.RNNBase(*)", "^place", "The mode comes from the subclass."),
    ("lamella.utils.data.random_split(generator)", "instead", "None stands for the process' stream."),
    ("lamella.callbacks.LambdaCallback(*)", "not taken", "Taken through `**hooks`, and called."),
    ("lamella.layers.*(*)", "^by keyword$", "To be given by name, as Keras' own programs do."),
    ("lamella.layers.*(*)", "^`[12]` instead of", "One number stands for all dimensions."),
    ("lamella.nn.TransformerEncoder(*)", "no effect", "Hints how to compute padded batches; they are computed whole."),
    ("lamella.*.load_model(safe_mode)", "no effect", "No code of a file is ever run."),
    ("lamella.layers.Layer.add_weight(autocast)", "no effect", "Weights are never cast."),
    (
        "lamella.models.Model(*)",
        "`None` instead of required",
        "A subclass with a `call` method is made without them.",
    ),
    (
        "lamella.utils.*_dataset_from_*(format)",
        "values",
        "Only the default: the batches come from Lamella's own pipeline.",
    ),
    ("lamella.utils.model_to_dot(subgraph)", "values", "Only the default."),
]
