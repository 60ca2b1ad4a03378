"""The networks and their training loop as PyTorch's users write them, for PyTorch and for what has its names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import networks
from .measure import Form


def model(torch: Any, network: networks.Network) -> Any:
    """The network as an `nn.Sequential` of `torch`, PyTorch or Lamella, with the weights that all start from."""
    nn = torch.nn

    class Last(nn.Module):  # type: ignore[misc]
        """An LSTM's last output."""

        def __init__(self, lstm: Any) -> None:
            super().__init__()
            self.lstm = lstm

        def forward(self, x: Any) -> Any:
            return self.lstm(x)[0][:, -1]

    activations: dict[str, list[Callable[[], Any]]] = {"relu": [nn.ReLU], "sigmoid": [nn.Sigmoid], "linear": []}
    made: list[Any] = []
    with torch.no_grad():
        for i, (layer, parts) in enumerate(
            zip(network.layers, networks.weights(network.name, channels_first=True), strict=True)
        ):
            one: list[Any] = []
            match layer:
                case networks.Conv(c, oc, pad):
                    one = [nn.Conv2d(c, oc, 3, padding=pad), nn.ReLU()]
                case networks.Pool():
                    one = [nn.MaxPool2d(2)]
                case networks.Flatten():
                    one = [nn.Flatten()]
                case networks.Dense(inputs, units, activation):
                    one = [nn.Linear(inputs, units), *(a() for a in activations[activation])]
                    parts = [parts[0].T, parts[1]]
                case networks.Embedding(words, width):
                    one = [nn.Embedding(words, width)]
                case networks.LSTM(inputs, units):
                    one = [Last(nn.LSTM(inputs, units, batch_first=True))]
                    parts = [parts[0].T, parts[1].T, parts[2], np.zeros_like(parts[2])]
            for p, w in zip(one[0].parameters(), parts, strict=True):
                p.copy_(torch.from_numpy(np.ascontiguousarray(w)))
                p.requires_grad_(i >= network.frozen)
            if isinstance(one[0], Last):
                one[0].lstm.bias_hh_l0.requires_grad_(False)  # one bias, as the others have
            made += one
    return nn.Sequential(*made)


def train(torch: Any, network: networks.Network, net: Any, xs: Any, y: np.ndarray, batch: int) -> Form:
    """One step of the usual loop a call, over shuffled batches of tensors in memory."""
    ys, F = torch.from_numpy(y), torch.nn.functional
    loss_fn = {"classes": F.cross_entropy, "yes_no": F.binary_cross_entropy, "mse": F.mse_loss}[network.loss]
    trained = [p for p in net.parameters() if p.requires_grad]
    if network.optimizer == "adam":
        opt = torch.optim.Adam(trained, network.rate, eps=networks.EPSILON)
    else:
        opt = torch.optim.SGD(trained, network.rate)

    def step(rows: Any) -> Any:
        opt.zero_grad()
        loss = loss_fn(net(xs[rows]), ys[rows])
        loss.backward()
        opt.step()
        return loss

    first = np.array([step(torch.arange(batch)).item() for _ in range(3)])
    state = {"order": torch.randperm(len(xs)), "at": 0}

    def run() -> None:
        if state["at"] + batch > len(xs):
            state["order"], state["at"] = torch.randperm(len(xs)), 0
        step(state["order"][state["at"] : state["at"] + batch])
        state["at"] += batch

    return Form(run, first)
