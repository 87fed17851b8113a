"""`$(eval ...)`: the arithmetic, comparisons and text methods that launch files use, without Python's `eval`.

launch evaluates any Python there, with `math` at hand. Here a name is one of `math` or of `_FUNCTIONS`, an attribute one of
`math` or of `_TEXT_METHODS`, and results are bounded: a file from somewhere else may compute, not run code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from robot_pt.errors import DataError

_LIMIT = 10_000  # characters of an expression, items of a list, digits of a number

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (abs, all, any, bool, float, int, len, max, min, round, sorted, str, sum)
}
_TEXT_METHODS = frozenset({"lower", "upper", "strip", "lstrip", "rstrip", "split", "startswith", "endswith", "replace"})
_MATH = {name: value for name, value in vars(math).items() if not name.startswith("_")}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


def evaluate(expression: str) -> str:
    """str() of the expression's value, as launch's `eval` gives it. Raises DataError: outside the subset, or it fails."""
    if len(expression) > _LIMIT:
        raise DataError(f"$(eval ...) was given {len(expression)} characters; give at most {_LIMIT}.")
    try:
        return str(_value(ast.parse(expression.strip(), mode="eval").body))
    except (SyntaxError, TypeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"$(eval {expression}) fails: {error}; quote text in it, as in \"'$(var robot)' == 'sim'\"."
        ) from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Name(id=name) if name in _FUNCTIONS or name in _MATH:
            return _FUNCTIONS.get(name, _MATH.get(name))
        case ast.Attribute(value=ast.Name(id="math"), attr=name) if name in _MATH:
            return _MATH[name]
        case ast.UnaryOp() if type(node.op) in _UNARY:
            return _UNARY[type(node.op)](_value(node.operand))
        case ast.BinOp() if type(node.op) in _BINARY:
            return _binary(node)
        case ast.BoolOp():
            return _bool(node)
        case ast.Compare():
            return _compare(node)
        case ast.IfExp():
            return _value(node.body) if _value(node.test) else _value(node.orelse)
        case ast.List() | ast.Tuple():
            items = [_value(item) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        case ast.Dict(keys=keys) if None not in keys:
            return {_value(k): _value(v) for k, v in zip(keys, node.values, strict=True) if k is not None}
        case ast.Subscript(slice=ast.expr() as index) if not isinstance(index, ast.Slice):
            return _value(node.value)[_value(index)]
        case ast.Call(keywords=[]):
            return _call(node)
    raise DataError(f"$(eval ...) cannot do {ast.unparse(node)!r} here; use arithmetic, comparisons and math only.")


def _bool(node: ast.BoolOp) -> Any:
    value = _value(node.values[0])
    for operand in node.values[1:]:
        if bool(value) is isinstance(node.op, ast.Or):  # decided: the rest is not looked at
            break
        value = _value(operand)
    return value


def _compare(node: ast.Compare) -> bool:
    left = _value(node.left)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node)
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _binary(node: ast.BinOp) -> Any:
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        size = max(left.bit_length(), 1) * abs(right)
    elif isinstance(node.op, ast.Mult) and (hasattr(left, "__len__") or hasattr(right, "__len__")):
        lengths = [len(v) if hasattr(v, "__len__") else abs(int(v)) for v in (left, right)]
        size = lengths[0] * lengths[1]
    elif isinstance(node.op, ast.Mod) and isinstance(left, str):
        raise DataError("$(eval ...) formats no text; join it with +.")
    else:
        size = 0
    if size > _LIMIT:
        raise DataError(f"$(eval ...) would make something of size {size}; {_LIMIT} is the limit.")
    return _BINARY[type(node.op)](left, right)


def _call(node: ast.Call) -> Any:
    arguments = [_value(a) for a in node.args]
    if isinstance(node.func, ast.Attribute) and node.func.attr in _TEXT_METHODS:
        owner = _value(node.func.value)
        if isinstance(owner, str):
            return getattr(owner, node.func.attr)(*arguments)
    function = _value(node.func)
    allowed = [
        *_FUNCTIONS.values(),
        *(f for n, f in _MATH.items() if callable(f) and n not in ("factorial", "comb", "perm")),
    ]
    if not any(function is f for f in allowed):
        raise DataError(
            f"$(eval ...) cannot call {ast.unparse(node.func)!r} here; use math and {', '.join(_FUNCTIONS)}."
        )
    return function(*arguments)
