"""Take noise out of images, and find images of a kind never seen, with one autoencoder (in PyTorch's idiom).

Data: Fashion-MNIST without its bags: 54,000 images to learn from. Noise is added to them, and the network is to give
back the image without it. What it cannot give back is unusual: the error of its output tells bags, which it never saw,
from clothes and shoes (area under the ROC curve).

Expect a lower error than principal components of the same number (32), and a higher area.
"""

import _data
import numpy as np
from sklearn.metrics import roc_auc_score

import lamella
from lamella import nn, optim
from lamella.utils.data import DataLoader, TensorDataset

BAG, NOISE, CODE = 8, 0.3, 32


def network(pixels):
    return nn.Sequential(
        nn.Linear(pixels, 256),
        nn.ReLU(),
        nn.Linear(256, CODE),
        nn.Linear(CODE, 256),
        nn.ReLU(),
        nn.Linear(256, pixels),
        nn.Sigmoid(),
    )


def train(net, images, epochs):
    loader = DataLoader(TensorDataset(lamella.from_numpy(images)), batch_size=128, shuffle=True)
    loss_fn, optimizer = nn.MSELoss(), optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(epochs):
        total = 0.0
        for (clean,) in loader:
            noisy = (clean + NOISE * lamella.randn_like(clean)).clamp(0, 1)
            loss = loss_fn(net(noisy), clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(clean)
        print(f"Epoch {epoch + 1}/{epochs} - loss={total / len(images):.4f}")


def principal_components(images):
    """A function that keeps of images what the strongest components of these span."""
    mean = images.mean(0)
    _, vectors = np.linalg.eigh(np.cov(images - mean, rowvar=False))
    basis = vectors[:, -CODE:].astype(np.float32)
    return lambda x: (x - mean) @ basis @ basis.T + mean


def main(argv=None):
    args = _data.begin(_data.arguments(__doc__, epochs=10), argv)
    (x, y), (x_test, y_test) = _data.fashion_mnist(args.data)
    x, x_test = (part.reshape(len(part), -1) / np.float32(255) for part in (x, x_test))
    known, usual = x[y != BAG], y_test != BAG

    net = network(x.shape[1])
    train(net, known, args.epochs)
    net.eval()

    def restore(images):
        with lamella.no_grad():
            return net(lamella.from_numpy(images)).numpy()

    components = principal_components(known)
    noise = np.random.default_rng(args.seed).normal(0, NOISE, x_test.shape)
    noisy = np.clip(x_test + noise, 0, 1).astype(np.float32)

    def error(images):
        return ((images - x_test) ** 2).mean(1)

    _data.report(f"root mean squared error of {usual.sum():,} test images with noise", {
        "autoencoder": np.sqrt(error(restore(noisy))[usual].mean()),
        f"{CODE} principal components": np.sqrt(error(components(noisy))[usual].mean()),
        "left as they are": np.sqrt(error(noisy)[usual].mean()),
    })  # fmt: skip
    return _data.report(f"area under the ROC curve: {(~usual).sum():,} bags among {len(usual):,} test images", {
        "error of the autoencoder": roc_auc_score(~usual, error(restore(x_test))),
        f"error of {CODE} principal components": roc_auc_score(~usual, error(components(x_test))),
        "distance from the mean image": roc_auc_score(~usual, error(known.mean(0))),
    })  # fmt: skip


if __name__ == "__main__":
    main()
