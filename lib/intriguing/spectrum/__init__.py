"""How far a layer, and a whole network, can stretch a change of its input, measured in l2."""

from intriguing.spectrum.certificate import certified_radius, margins, pairwise_radius
from intriguing.spectrum.convolution import conv_bound, printed_bound, symbol_norm
from intriguing.spectrum.layers import layer_bound, register_layer
from intriguing.spectrum.network import Layer, NetworkBound, network_bound
from intriguing.spectrum.singular import linear_bound

__all__ = [
    "Layer",
    "NetworkBound",
    "certified_radius",
    "conv_bound",
    "layer_bound",
    "linear_bound",
    "margins",
    "network_bound",
    "pairwise_radius",
    "printed_bound",
    "register_layer",
    "symbol_norm",
]
