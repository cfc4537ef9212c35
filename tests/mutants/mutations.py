"""Mutations: one small mistake at a time in the source of a module.

Owns which mistakes are made: comparisons, arithmetic and set operations, conditions, numbers, pairs of functions that
are easily mistaken, and statements left out. Leaves alone what other means find: texts (read by people), annotations
and missing values (mypy), decorators. Runs nothing.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import CodeType

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_MISTAKEN = {"min": "max", "any": "all", "bisect_left": "bisect_right", "earlier": "later"}
_MISTAKEN |= {wrong: right for right, wrong in _MISTAKEN.items()}
_NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LEFT_ALONE = {"annotation", "returns", "decorator_list", "ctx", "op", "ops"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake, and the module with it. ``name`` says where it is and what stands there instead of what.

    A name stays the same where lines are added above; what is made twice in a function is numbered.
    """

    name: str
    line: int
    code: CodeType


def mutants(source: str, filename: str) -> Iterator[Mutant]:
    """Every mutant of ``source``, in its order."""
    tree = ast.parse(source)
    made: Counter[str] = Counter()
    for place in _places(tree, ""):
        before = _shown(place)
        for other in _mistakes(place.node):
            place.put(ast.copy_location(other, place.node))
            code = compile(ast.fix_missing_locations(tree), filename, "exec")
            name = f"{place.function or 'module'}: {before} -> {_shown(replace(place, node=other))}"
            made[name] += 1
            yield Mutant(name if made[name] == 1 else f"{name} #{made[name]}", place.line, code)
        place.put(place.node)


@dataclass(frozen=True, slots=True)
class _Place:
    """``node`` stands in the field ``field`` of ``parent``, in a list there at ``at``; ``function`` is around it."""

    function: str
    parent: ast.AST
    field: str
    at: int | None
    node: ast.AST

    @property
    def line(self) -> int:
        return int(getattr(self.node, "lineno", 0) or getattr(self.parent, "lineno", 0))

    def put(self, node: ast.AST) -> None:
        if self.at is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.at] = node


def _places(parent: ast.AST, function: str) -> Iterator[_Place]:
    """Each node below ``parent``."""
    for field, value in ast.iter_fields(parent):
        if field in _LEFT_ALONE:
            continue
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _is_docstring(node):
                continue
            inside = f"{function}.{node.name}".lstrip(".") if isinstance(node, _NAMED) else function
            yield _Place(inside, parent, field, at, node)
            yield from _places(node, inside)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _shown(place: _Place) -> str:
    """The code in its place; a number or a name with what is around it."""
    node = place.node
    if isinstance(node, ast.If | ast.While):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.Constant | ast.Name) and isinstance(place.parent, ast.expr | ast.Assign):
        node = node if isinstance(place.parent, ast.Dict) else place.parent
    return " ".join(ast.unparse(node).split())


def _mistakes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BinOp():
            yield from _calculations(node)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            for at in range(len(node.values)):
                rest = node.values[:at] + node.values[at + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.If() | ast.While() | ast.IfExp():
            yield from _conditions(node)
        case ast.comprehension(ifs=[_, *_]):
            yield ast.comprehension(node.target, node.iter, node.ifs[1:], node.is_async)
        case ast.Constant():
            yield from _constants(node)
        case ast.Name(id=name, ctx=ast.Load()) if name in _MISTAKEN:
            yield ast.Name(_MISTAKEN[name], ast.Load())
        case ast.Call(func=ast.Name(id="replace")):
            for at in range(len(node.keywords)):
                yield ast.Call(node.func, node.args, node.keywords[:at] + node.keywords[at + 1 :])
        case _ if _can_be_left_out(node):
            yield ast.Pass()


def _comparisons(node: ast.Compare) -> Iterator[ast.AST]:
    for at, op in enumerate(node.ops):
        for other in _COMPARED[type(op)]:
            yield ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators)


def _calculations(node: ast.BinOp) -> Iterator[ast.AST]:
    """One side alone, and another operation; a difference is turned round, for sets know no sum."""
    yield node.left
    if isinstance(node.op, ast.Sub):
        yield ast.BinOp(node.right, node.op, node.left)
    elif type(node.op) in _CALCULATED:
        yield ast.BinOp(node.left, _CALCULATED[type(node.op)](), node.right)
    if isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield node.right


def _conditions(node: ast.If | ast.While | ast.IfExp) -> Iterator[ast.AST]:
    if isinstance(node.test, ast.Name | ast.Attribute | ast.Call):  # the others have mistakes of their own inside
        inverted = ast.UnaryOp(ast.Not(), node.test)
        if isinstance(node, ast.IfExp):
            yield ast.IfExp(inverted, node.body, node.orelse)
        else:
            yield type(node)(inverted, node.body, node.orelse)


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node.value, float):
        yield ast.Constant(node.value * 2)


def _can_be_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.Assign(targets=[ast.Attribute()]):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):  # else the name would be missing
            return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node.value))
    return False
