"""From a prompt to code: first what is wanted (the IR), then code for it, each validated."""

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
