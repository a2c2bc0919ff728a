"""The command for machines without a network: wheelhouse."""

import argparse
from pathlib import Path

from intriguing.commands.common import RIGHT, say, working


def wheelhouse(options: argparse.Namespace) -> int:
    """Collect wheels, sources and data into one folder."""
    from intriguing import chapters
    from intriguing.book.offline.target import Target

    chapters.load_profile(options.profile)
    target = Target(options.python, options.platform)
    from intriguing.book.offline import wheelhouse

    order = wheelhouse.Order(options.profile, target, torch_from_node=options.torch_from_node,
                             data=not options.no_data, networks=options.networks)
    folder = Path(options.folder).expanduser().absolute()
    with working():
        sizes = wheelhouse.collect(folder, order, say)
    parts = ", ".join(f"{part} {size / 1e6:,.0f} MB" for part, size in sorted(sizes.items()))
    print(f"{folder}: {parts}\ncopy it to the machine and call ./run.sh there")
    return RIGHT
