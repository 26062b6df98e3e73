"""Options that are fields of what they stand for, and the values of the library that they mean.

A command takes fields of a dataclass as ``**asked``: ``@taking(Asked)`` with ``Asked = options(fields_of(...), ...)``.
Name, type, default and help of each are the field's own; ``asked`` holds what was given, and nothing else.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar, Unpack

from cyclopts import Group, Parameter
from docstring_parser.google import parse

from nvlib import catalogue, image_sets
from nvlib.commands.parameters import parameters, types_of
from nvlib.declarations import RecipeFields
from nvlib.errors import InputError

if TYPE_CHECKING:
    from nvlib.methods import Recipe

# headings of the help, in this order
ONE, GRID, CHIPS, TRAINED, HOW, DEPLOYED, WHERE, WHO, SLURM, FILTERS = map(Group.create_ordered, (
    "the training", "the grid's axes", "the chips", "what is trained", "how it is trained", "what is done to each chip",
    "where it is computed", "who computes it", "slurm", "which results",
))  # fmt: skip
WORDS = {"methods": "method", "devices": "device", "ranges": "range", "peripheries": "periphery",
         "deployments": "deploy", "plugins": "plugin"}  # fmt: skip
ONE_EACH = ("plugins", "setup")  # given again for another, where other options take several words
KNOWN: dict[str, Iterable[str]] = {
    "network": catalogue.NETWORKS, "dataset": image_sets.IMAGE_SETS, "method": catalogue.METHODS,
    "device": catalogue.DEVICES, "deploy": ("none", *catalogue.DEPLOYMENTS),
}  # fmt: skip
Command = TypeVar("Command", bound=Callable[..., Any])

LISTED = ("network", "method", "deploy")  # whose help says what there is


def name_of(kind: str) -> Any:
    """Return the type of a name that a shell completes to the known ones; any other text, a path, is one too."""
    return Annotated[Literal[tuple(KNOWN[kind])] | str, Parameter(show_choices=kind in LISTED, metavar="NAME")]


def told(kind: Any, text: str | None = None, **how: Any) -> Any:
    """Return the type of an option or argument that several commands have, with its help."""
    said: dict[str, Any] = {} if text is None else {"help": text}  # else the command's docstring says it
    return Annotated[kind, Parameter(**said, **how)]


Flag = told(bool, show_default=False)
Network, Dataset, Method, Device, Deploy = map(name_of, KNOWN)
K = told(float, "percentile, in percent")
Job = told(str, "the first letters of its id, or its name")
Hash = told(str, "of a run, or its first digits")
Quiet = told(Flag, "print the hash alone, and no progress")
Sets = told(list[str] | None, "a parameter of the method, e.g. th=2, or of one of several: trice.warm=2; may be given "
            "again", name="--set", consume_multiple=False, group=HOW, metavar="P=V")  # fmt: skip
Kind = told(str | None, "default (Adam), or preset: the network's published recipe", name="--recipe", group=HOW)
DeploySets = told(list[str] | None, "its parameter, or of one of several: tsb.epochs=3; may be given again",
                  name="--deploy-set", consume_multiple=False, group=DEPLOYED, metavar="P=V")  # fmt: skip
On = told(str, "cpu or cuda", group=WHERE)
Threads = told(int | None, "of a process (default: the machine's, shared by the workers)", group=WHERE)
Workers = told(int | None, "processes; jobs of the array with slurm", group=WHO)


def several_of(kind: Any) -> Any:
    """Return the type of any number of values of a kind."""
    return types.GenericAlias(tuple, (kind, ...))


def taking(kind: Any) -> Callable[[Command], Command]:
    """Say what options a command's ``**asked`` are: of `options`, whose fields no type checker can know."""

    def marked(command: Command) -> Command:
        name = inspect.getfullargspec(command).varkw
        assert name is not None, "it takes options by name"
        command.__annotations__[name] = Unpack[kind]
        return command

    return marked


def options(*parts: Mapping[str, Any]) -> Any:
    """Return the type of a command's ``**asked``: options by name, none of them required."""
    held = {name: kind for part in parts for name, kind in part.items()}
    make: Any = TypedDict  # its fields are known when the program runs
    return make("Asked", held, total=False)


def fields_of(
    declared: type, names: Iterable[str] = (), *, group: Group, without: Iterable[str] = (), one: bool = False,
    **words: str,
) -> dict[str, Any]:  # fmt: skip
    """Return fields of a dataclass as options, their types annotated with name, help and default.

    Args:
        declared: the dataclass, with ``Attributes`` in its docstring.
        names: of the fields; none: all that words can say.
        group: under which heading of the help they stand.
        without: fields to leave out.
        one: of several values take one.
        **words: what fields are called, where it is not their name (`WORDS`).
    """
    said = {p.arg_name: " ".join((p.description or "").split()) for p in parse(declared.__doc__).params}
    kinds, found = types_of(declared), {}
    for field in fields(declared):
        name, kind = field.name, _plain(kinds[field.name])
        if name in without or (names and name not in names) or kind is None:
            continue
        if one and typing.get_origin(kind) is tuple:
            kind = typing.get_args(kind)[0]
        found[name] = option((WORDS | words).get(name, name), kind, said[name], group, _written(field.default),
                             several=name not in ONE_EACH)  # fmt: skip
    return found


def option(word: str, kind: Any, text: str | None, group: Group, default: str = "", *, several: bool = True) -> Any:
    """Return the annotated type of one option.

    Args:
        word: its name, without dashes.
        kind: int, float, str, or tuple[X, ...] of these.
        text: its help.
        group: under which heading of the help it stands.
        default: as the help says it; "": not at all.
        several: whether a tuple takes all words that follow.
    """
    if word in KNOWN:
        kind = several_of(name_of(word)) if typing.get_origin(kind) is tuple else name_of(word)
    return Annotated[kind, Parameter(
        name=f"--{word.replace('_', '-')}", help=text, group=group, show_default=default or False,
        show_choices=word in LISTED, consume_multiple=1 if several else False,
        metavar="NAME" if word in KNOWN else None,
    )]  # fmt: skip


def _plain(kind: Any) -> Any:
    """Return the type without None; None for one that words cannot say."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return several_of(_plain(typing.get_args(kind)[0]))
    return kind if kind in (int, float, str) else None


def _written(default: Any) -> str:
    several = default if isinstance(default, tuple) else (default,)
    return "" if default is MISSING or all(one in (None, "") for one in several) else " ".join(map(str, several))


# -- what they mean --------------------------------------------------------------------------------------------------


def of(declared: type, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked of the fields of a dataclass."""
    return {field.name: asked[field.name] for field in fields(declared) if field.name in asked}


def run_plugins(asked: Mapping[str, Any]) -> None:
    """Run the files that ``--plugin`` names, whose methods have parameters to be set."""
    from nvlib import plugins

    for path in asked.get("plugins", ()):
        plugins.load(path)


def method_parameters(sets: Sequence[str] | None, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what ``--set`` says, by method."""
    if not sets:
        return {}
    from nvlib.methods import METHODS

    return parameters(sets, methods, METHODS, "method")


def deployments(names: Sequence[str] | None, sets: Sequence[str] | None) -> dict[str, Any]:
    """Return what ``--deploy`` and ``--deploy-set`` say, as fields of a study."""
    if names is None:
        if sets:
            raise InputError(f"--deploy-set {sets[0]} without --deploy; say which it is for")
        return {}
    found: dict[str, Any] = {"deployments": tuple(None if name == "none" else name for name in names)}
    if chosen := [name for name in names if name != "none"]:
        from nvlib.deploy import DEPLOYMENTS

        found["deployment_parameters"] = parameters(sets or (), chosen, DEPLOYMENTS, "deployment")
    return found


def recipe(kind: str | None, asked: Mapping[str, Any], study: Any, base: Recipe | None = None) -> dict[str, Any]:
    """Return the recipe that was asked for, as a field of a study; nothing if none was.

    Args:
        kind: ``default``, ``preset``, or None: the base.
        asked: what was given, fields of a recipe among it.
        study: whose network and data set a preset is of.
        base: what the fields change; None: the default.
    """
    from nvlib.methods import Recipe, preset

    changes = of(RecipeFields, asked)
    if kind not in (None, "default", "preset"):
        raise InputError(f"recipe {kind!r} is not known; expected default or preset (then change it: --lr, ...)")
    if kind is None and not changes:
        return {}
    if kind == "preset":
        from nvlib import data

        network, dataset = (asked.get(name, getattr(study, name)) for name in ("network", "dataset"))
        base = preset(network, data.load(dataset, limit=1).shape[0])
    elif kind == "default" or base is None:
        base = Recipe()
    return {"recipe": Recipe(**asdict(base) | changes)}
