"""`jaxstyle weights`: list, download, verify."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, subcommand

from jaxstyle.vgg import weights


@dataclass(frozen=True)
class WeightsList:
    """List the weights that have a name, and where they are."""

    def run(self) -> int:
        """Print the table; returns the exit code."""
        for record in weights.list_weights():
            where = record.path or f"not here yet: jaxstyle weights get {record.name}"
            print(f"{record.name:12}  {record.size / 1e6:6.1f} MB  {record.description}\n{'':12}  {where}")
        return 0


@dataclass(frozen=True)
class WeightsGet:
    """Download weights once; later runs find them in the cache."""

    name: Positional[str]
    """Such as torchvision."""

    def run(self) -> int:
        """Fetch; returns the exit code."""
        print(weights.fetch_weights(self.name))
        return 0


@dataclass(frozen=True)
class WeightsVerify:
    """Check weights that are on this machine: checksum, names, shapes and values."""

    name: Positional[str] = "oxford"
    """Such as oxford or torchvision."""

    def run(self) -> int:
        """Check; returns the exit code."""
        record = weights.verify_weights(self.name)
        print(f"{record.name}: good, {record.path}, sha256 {record.sha256}")
        return 0


@dataclass(frozen=True)
class Weights:
    """List, download or check the network's weights."""

    command: (
        Annotated[WeightsList, subcommand("list")]
        | Annotated[WeightsGet, subcommand("get")]
        | Annotated[WeightsVerify, subcommand("verify")]
    )

    def run(self) -> int:
        """Run the command under this one; returns the exit code."""
        return self.command.run()
