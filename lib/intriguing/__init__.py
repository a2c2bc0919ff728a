"""Intriguing Properties, Reproduced: the library behind an executable book on adversarial examples."""

__version__ = "0.1.0"
