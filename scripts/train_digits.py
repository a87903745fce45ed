"""Train the demo network on scikit-learn's digits in seconds and save its checkpoint: configs/digits.pt."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from landscape_cli.examples import SmallResNet, digits

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "configs" / "digits.pt"


def train(
    epochs: int, batch_size: int, learning_rate: float, weight_decay: float, seed: int, folder: Path | None = None
) -> SmallResNet:
    """SGD with momentum and a cosine schedule; the weights after every epoch go into ``folder``, if there is one."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # so that the same seed gives the same weights on machines with other numbers of cores
    model = SmallResNet()
    loader = DataLoader(digits(train=True), batch_size=batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=0.9, weight_decay=weight_decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    if folder:
        save_epoch(model, 0, folder)
    for epoch in range(1, epochs + 1):
        model.train()
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch:2d}  train {accuracy(model, train=True):.4f}  test {accuracy(model, train=False):.4f}")
        if folder:
            save_epoch(model, epoch, folder)
    return model


def save_epoch(model: SmallResNet, epoch: int, folder: Path) -> None:
    """Write one point of the path of training; 0 is before the first step."""
    torch.save({"state_dict": model.state_dict(), "epoch": epoch}, folder / epoch_name(epoch))


def epoch_name(epoch: int) -> str:
    """``epoch_007.pt``, so that the order of the names is that of the epochs."""
    return f"epoch_{epoch:03d}.pt"


@torch.no_grad()
def accuracy(model: SmallResNet, *, train: bool) -> float:
    """Share of right classes on one part of the digits."""
    model.eval()
    images, labels = digits(train=train).tensors
    return float((model(images).argmax(dim=1) == labels).double().mean())


def main() -> None:
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--save-every-epoch", type=Path, metavar="DIR", help="save epoch_000.pt (before training), epoch_001.pt, … here"
    )
    args = parser.parse_args()
    folder: Path | None = args.save_every_epoch
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / epoch_name(args.epochs + 1)).exists():  # the two paths would be read as one
            parser.error(f"{folder} holds a longer training; empty it or name another folder")
    model = train(args.epochs, args.batch_size, args.learning_rate, args.weight_decay, args.seed, folder)
    content = {"state_dict": model.state_dict(), "epoch": args.epochs, "test_accuracy": accuracy(model, train=False)}
    torch.save(content, args.output)
    print(f"saved {args.output} ({args.output.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
