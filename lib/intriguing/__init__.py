"""Intriguing Properties, Reproduced: the library of an executable book on adversarial examples."""

__version__ = "0.1.0"
