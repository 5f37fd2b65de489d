"""Code generation in two validated steps: a specification (IR) of the prompt, then its code."""

from .code import CodeRejected, generate_code
from .ir import IR, Hole, IRRejected, Parameter, generate_ir

__all__ = [
    "IR",
    "CodeRejected",
    "Hole",
    "IRRejected",
    "Parameter",
    "generate_code",
    "generate_ir",
]
