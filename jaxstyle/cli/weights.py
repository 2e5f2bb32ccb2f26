"""`jaxstyle weights`: list, download and verify the weights of VGG-19."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg, subcommand

from jaxstyle.vgg import weights


@dataclass(frozen=True)
class WeightsList:
    """List the named weights, with their sizes and paths."""

    def run(self) -> int:
        """Print the table; return the exit code."""
        for record in weights.list_weights():
            path = record.path or f"not downloaded: jaxstyle weights get {record.name}"
            print(f"{record.name:12}  {record.size / 1e6:6.1f} MB  {record.description}\n{'':12}  {path}")
        return 0


@dataclass(frozen=True)
class WeightsGet:
    """Download weights to the cache, where all later runs find them."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Name of the weights, such as torchvision; see `jaxstyle weights list`."""

    def run(self) -> int:
        """Download; return the exit code."""
        print(weights.fetch_weights(self.name))
        return 0


@dataclass(frozen=True)
class WeightsVerify:
    """Verify weights on this machine: checksum, names, shapes and values."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = "oxford"
    """Name of the weights, such as oxford or torchvision."""

    def run(self) -> int:
        """Verify; return the exit code."""
        record = weights.verify_weights(self.name)
        print(f"{record.name}: valid, {record.path}, sha256 {record.sha256}")
        return 0


@dataclass(frozen=True)
class Weights:
    """List, download or verify the weights of the network."""

    command: (
        Annotated[WeightsList, subcommand("list")]
        | Annotated[WeightsGet, subcommand("get")]
        | Annotated[WeightsVerify, subcommand("verify")]
    )

    def run(self) -> int:
        """Run the subcommand; return the exit code."""
        return self.command.run()
