"""Who is compared: what each peer needs installed, and its program."""

from __future__ import annotations

from dataclasses import dataclass

_TF15 = ("tensorflow-cpu==2.15.1", "numpy<2", "setuptools<81")
_TF21 = ("tensorflow-cpu==2.21.0", "keras==3.15.1")


@dataclass(frozen=True)
class Peer:
    """One toolkit.

    Args:
        title: its name in tables.
        program: file in tools/frontier/programs.
        requirements: what pip installs into its environment; none runs where the tool runs.
    """

    title: str
    program: str
    requirements: tuple[str, ...] = ()


PEERS = {
    "tfxp": Peer("tfxp", "peer_tfxp.py"),
    # pip's metadata of QKeras name pyparser, its code imports pyparsing
    "qkeras": Peer(
        "QKeras",
        "peer_qkeras.py",
        ("qkeras==0.9.0", "pyparsing", "tensorflow-model-optimization==0.7.5", *_TF15),
    ),
    "qkeras_v3": Peer("qkeras-v3", "peer_qkeras.py", ("qkeras-v3==1.2.1", *_TF21)),
    "hgq2": Peer("HGQ2", "peer_hgq2.py", ("HGQ2==0.2.0", *_TF21)),
    "tfmot": Peer("tfmot", "peer_tfmot.py", ("tensorflow-model-optimization==0.7.5", *_TF15)),
    "ai_edge_quantizer": Peer(
        "AI Edge Quantizer", "peer_ai_edge_quantizer.py", ("litert-quantizer==0.11.0", *_TF21)
    ),
    "mct": Peer("Sony MCT", "peer_mct.py", ("model-compression-toolkit==2.6.1", *_TF15)),
}
