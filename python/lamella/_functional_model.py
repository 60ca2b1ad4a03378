"""The graph of layer calls that a functional model is made of."""

from __future__ import annotations

from typing import Any

from . import _saving
from ._custom import get_registered_name
from .layers._structures import flatten, map_structure
from .layers._symbolic import KerasTensor
from .layers.base import Layer
from .layers.input import InputLayer


class Functional:
    """The layer calls between input and output KerasTensors."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.input_structure, self.output_structure = inputs, outputs
        self.inputs: list[KerasTensor] = flatten(inputs)
        self.outputs: list[KerasTensor] = flatten(outputs)
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            for t in tensors:
                if not isinstance(t, KerasTensor):
                    raise TypeError(f"Model: {what}: expected KerasTensors, got {type(t).__name__}")
        self.calls: list[Any] = []
        known = {id(t) for t in self.inputs}
        visited: set[int] = set()
        for t in self.outputs:
            self._visit(t, known, visited)
        seen: set[int] = set()
        first = [t.layer for t in self.inputs if isinstance(t.layer, InputLayer)]
        self.layers: list[Layer] = []
        for layer in [*first, *(c.layer for c in self.calls)]:
            if id(layer) not in seen:
                seen.add(id(layer))
                self.layers.append(layer)

    def _visit(self, tensor: KerasTensor, known: set[int], visited: set[int]) -> None:
        stack: list[tuple[Any, bool]] = [(tensor, False)]
        while stack:
            t, done = stack.pop()
            call = t.call
            if id(t) in known:
                continue
            if call is None or isinstance(call.layer, InputLayer):
                raise ValueError(f"Model: inputs: the outputs depend on {t.name!r}, which is not among the inputs")
            if done:
                if id(call) not in visited:
                    visited.add(id(call))
                    self.calls.append(call)
                continue
            if id(call) in visited:
                continue
            stack.append((t, True))
            for leaf in flatten([list(call.args), call.kwargs]):
                if isinstance(leaf, KerasTensor):
                    stack.append((leaf, False))

    def run(self, inputs: Any) -> Any:
        """Call the layers on tensors."""
        given = flatten(inputs)
        if isinstance(inputs, dict):
            given = [inputs[t.name] for t in self.inputs]
        if len(given) != len(self.inputs):
            raise ValueError(f"Model: inputs: expected {len(self.inputs)} tensors, got {len(given)}")
        values: dict[int, Any] = {id(t): v for t, v in zip(self.inputs, given, strict=True)}

        def fill(leaf: Any) -> Any:
            return values[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        for call in self.calls:
            out = call.layer(*[map_structure(fill, a) for a in call.args], **map_structure(fill, call.kwargs))
            for t, v in zip(call.outputs, flatten(out), strict=True):
                values[id(t)] = v
        return map_structure(fill, self.output_structure)

    def config(self, names: dict[int, str]) -> dict[str, Any]:
        """Layers and calls by number; tensors as {"tensor": [call, output]}, with call -1 - i for input i."""
        number = {id(m): i for i, m in enumerate(self.layers)}
        place: dict[int, list[int]] = {id(t): [-1 - i, 0] for i, t in enumerate(self.inputs)}
        for i, call in enumerate(self.calls):
            for k, t in enumerate(call.outputs):
                place[id(t)] = [i, k]

        def encode(leaf: Any) -> Any:
            return {"tensor": place[id(leaf)]} if isinstance(leaf, KerasTensor) else leaf

        return {
            "layers": [layer_config(names[id(m)], m) for m in self.layers],
            "inputs": [{"shape": list(t.shape), "dtype": t.dtype, "name": names.get(id(t.layer), t.name)}
                       for t in self.inputs],
            "calls": [
                {"layer": number[id(c.layer)], "args": map_structure(encode, list(c.args)),
                 "kwargs": map_structure(encode, c.kwargs)}
                for c in self.calls
            ],
            "outputs": map_structure(encode, self.output_structure),
        }  # fmt: skip

    @staticmethod
    def rebuild(
        config: dict[str, Any], classes: dict[str, type], custom_objects: dict[str, type] | None
    ) -> tuple[Any, Any]:
        """(inputs, outputs) from a configuration."""
        made = [_saving.rebuild(c, classes, custom_objects) for c in config["layers"]]
        by_name = {m.name: m for m in made if isinstance(m, InputLayer)}
        inputs = []
        for t in config["inputs"]:
            layer = by_name.get(t["name"]) or InputLayer(t["shape"][1:], t["shape"][0], t["dtype"], t["name"])
            inputs.append(layer._only_call().outputs[0])
        results: list[list[KerasTensor]] = []

        def decode(item: Any) -> Any:
            if isinstance(item, dict) and set(item) == {"tensor"}:
                call, k = item["tensor"]
                return inputs[-1 - call] if call < 0 else results[call][k]
            if isinstance(item, list):
                return [decode(v) for v in item]
            if isinstance(item, dict):
                return {k: decode(v) for k, v in item.items()}
            return item

        for c in config["calls"]:
            if not 0 <= c["layer"] < len(made):
                raise ValueError(f"load: call: expected one of {len(made)} layers, got {c['layer']}")
            out = made[c["layer"]](*decode(c["args"]), **decode(c["kwargs"]))
            results.append(flatten(out))
        return (inputs[0] if len(inputs) == 1 else inputs), decode(config["outputs"])


def layer_config(name: str, layer: Layer) -> dict[str, Any]:
    return {"class_name": get_registered_name(type(layer)), "config": {**layer.get_config(), "name": name}}
