"""Arguments of wrong types answer with the parameter's name and what to do.

check_public() puts a check before each public function and method. What a parameter takes is read from its
annotation when the function is called first, so that there is nothing else to keep in step; calls for each element
of an array check by themselves.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import re
import types
from typing import Any, Callable, Dict

from . import options
from ._elsewhere import ARGUMENTS, advice
from ._structs import _flag, _given, _real


class _Take:
    """What an annotation stands for. `words` say it in messages; fits() returns the value to pass on, or raises
    TypeError with the parameter's name. `|` joins two, brackets hold what it is made of."""

    words = "anything"
    parts: tuple[_Take, ...] = ()

    def __init__(self, words: str = "", parts: tuple[_Take, ...] = ()) -> None:
        self.words, self.parts = words or self.words, parts

    def __or__(self, other: Any) -> _Take:
        return _Either((self, _take(other)))

    def __ror__(self, other: Any) -> _Take:
        return _Either((_take(other), self))

    def __getitem__(self, parts: Any) -> _Take:
        parts = parts if isinstance(parts, tuple) else (parts,)
        return type(self)(self.words, tuple(_take(part) for part in parts))

    def __getattr__(self, name: str) -> _Take:
        """os.PathLike, numpy.ndarray."""
        if name.startswith("__"):
            raise AttributeError(name)
        return _Take()

    def fits(self, name: str, value: Any) -> Any:
        return value

    def fail(self, name: str, value: Any) -> Any:
        raise TypeError(f"{name} takes {self.words}, not {_given(value)}{self.advice(name, value)}")

    def advice(self, name: str, value: Any) -> str:
        return ""


class _Nothing(_Take):
    words = "None"

    def fits(self, name: str, value: Any) -> Any:
        return value if value is None else self.fail(name, value)


class _By(_Take):
    """A number or a truth value, which a function makes fit."""

    def __init__(self, words: str, convert: Callable[[str, Any], Any]) -> None:
        super().__init__(words)
        self.convert = convert

    def fits(self, name: str, value: Any) -> Any:
        return self.convert(name, value)


def _number(name: str, value: Any) -> Any:
    """A number, which stays the whole number that it may be."""
    return value if type(value) in (int, float) else _real(name, value)


def _integer(name: str, value: Any) -> int:
    """A whole number of any size: what it is passed to knows the range."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} takes a whole number, not {_given(value)}")
    return int(value.__index__())


class _Is(_Take):
    """An object of certain classes."""

    def __init__(self, words: str, *classes: Any) -> None:
        super().__init__(words)
        self.classes = classes

    def __getitem__(self, parts: Any) -> _Take:
        return self

    def fits(self, name: str, value: Any) -> Any:
        return value if isinstance(value, self.classes) else self.fail(name, value)


class _Text(_Is):
    def advice(self, name: str, value: Any) -> str:
        if isinstance(value, os.PathLike):
            return f"; the file's text is {name}.read_text()"
        if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
            return "; several texts go to a function for batches, ids to decode"
        return ""


class _Object(_Is):
    """An object of the library, which is not closed."""

    def fits(self, name: str, value: Any) -> Any:
        if not isinstance(value, self.classes):
            return self.fail(name, value)
        value._handle  # raises if it is closed
        return value


class _Callable(_Take):
    words = "a function"

    def fits(self, name: str, value: Any) -> Any:
        return value if callable(value) else self.fail(name, value)


class _Several(_Take):
    """A list, or anything else to iterate over, of one kind; a text is none, though it has letters. Of a dict of
    the library's objects, as Model.parameters() gives it, these are taken."""

    words = "a list"
    takes_dict = False

    def fits(self, name: str, value: Any) -> Any:
        if isinstance(value, (str, bytes, bytearray)) or not hasattr(type(value), "__iter__"):
            return self.fail(name, value)
        part = self.parts[0] if self.parts else None
        if isinstance(part, _Object):
            value = list(value.values() if hasattr(value, "values") else value)
        elif hasattr(type(value), "keys") and not hasattr(type(value), "to_list") and not self.takes_dict:  # a Series has both
            return self.fail(name, value)
        if part is not None and type(value) in (list, tuple) and not isinstance(part, (_By, _Several)):
            for i, one in enumerate(value):
                part.fits(f"{name}[{i}]", one)
        return value

    def advice(self, name: str, value: Any) -> str:
        return f": write [{name}]" if isinstance(value, (str, bytes)) else ""


class _Ids(_Several):
    def advice(self, name: str, value: Any) -> str:
        return "; Tokenizer.encode makes ids of a text" if isinstance(value, (str, bytes)) else ""


class _Messages(_Several):
    words = "a list of messages"

    def advice(self, name: str, value: Any) -> str:
        return ": write [{\"role\": \"user\", \"content\": ...}]" if isinstance(value, str) else f": write [{name}]" if isinstance(value, dict) else ""


class _Mapping(_Take):
    words = "a dict"

    def fits(self, name: str, value: Any) -> Any:
        if not hasattr(type(value), "keys") or not hasattr(type(value), "__getitem__"):
            return self.fail(name, value)
        if len(self.parts) == 2 and isinstance(self.parts[1], _Mapping):
            for key in value:
                self.parts[1].fits(f"{name}[{key!r}]", value[key])
        return value


class _Fields(_Mapping):
    """A dict whose keys are known, from a class of options.py: parts by key."""

    def __init__(self, kind: Any, names: _Names) -> None:
        super().__init__()
        self.needed = sorted(kind.__required_keys__)
        self.of_keys = {key: _take(names.evaluated(text)) for key, text in kind.__annotations__.items()}

    def fits_key(self, place: str, key: Any, value: Any) -> Any:
        """One value, which messages call `place`."""
        if key not in self.of_keys:
            of = "" if place == key else place.partition("[")[0] + ": "
            raise TypeError(f"{of}{key!r} is no option{_nearest(str(key), list(self.of_keys))}")
        return self.of_keys[key].fits(place, value)

    def fits(self, name: str, value: Any) -> Any:
        super().fits(name, value)
        for key in value:
            self.fits_key(f"{name}[{key!r}]", key, value[key])
        missing = [key for key in self.needed if key not in value]
        if missing:
            raise TypeError(f"{name} lacks {', '.join(map(repr, missing))}")
        return value


class _Word(_Take):
    """One of the words of a Literal."""

    def __getitem__(self, words: Any) -> _Take:
        words = words if isinstance(words, tuple) else (words,)
        return _Word("one of " + ", ".join(map(repr, words)))

    def fits(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return self.fail(name, value)
        return value  # which words there are is checked by what takes it


class _Either(_Take):
    """One of several kinds."""

    def __init__(self, parts: tuple[_Take, ...]) -> None:
        flat = [one for part in parts for one in (part.parts if isinstance(part, _Either) else (part,))]
        shown = [part.words for part in flat if not isinstance(part, _Nothing)]
        super().__init__(" or ".join(dict.fromkeys(shown)), tuple(flat))

    def fits(self, name: str, value: Any) -> Any:
        if value is None and any(isinstance(part, _Nothing) for part in self.parts):
            return None
        failure: Exception | None = None
        for part in self.parts:
            try:
                return part.fits(name, value)
            except TypeError as error:
                if str(error).startswith(f"{name}["):  # a list it is: one element is wrong
                    raise
                failure = failure or error
        others = [part for part in self.parts if not isinstance(part, _Nothing)]
        if len(others) == 1 and failure is not None:
            raise failure from None
        raise TypeError(f"{name} takes {self.words}, not {_given(value)}"
                        f"{others[0].advice(name, value) or others[-1].advice(name, value)}")


class _Optional(_Take):
    def __getitem__(self, part: Any) -> _Take:
        return _Either((_take(part), _Nothing()))


class _Union(_Take):
    def __getitem__(self, parts: Any) -> _Take:
        return _Either(tuple(_take(part) for part in parts))


_TEXT, _PATH = _Text("a text, str or bytes", str, bytes, bytearray), _Is("a path, str, bytes or Path", str, bytes, os.PathLike)
_KNOWN: dict[str, Any] = {
    "int": _By("a whole number", _integer), "float": _By("a number", _number), "bool": _By("True or False", _flag),
    "str": _Text("a text", str), "bytes": _Is("bytes", bytes, bytearray), "Text": _TEXT, "Path": _PATH,
    "Callable": _Callable(), "Mapping": _Mapping(), "dict": _Mapping(), "Dict": _Mapping(),
    "Ids": _Ids("a list or an array of ids"), "Iterable": _Several(), "Iterator": _Several(),
    "Sequence": _Several(), "Messages": _Messages(), "list": _Several(), "List": _Several(), "tuple": _Several("a tuple"),
    "set": _Several(), "Literal": _Word(), "Optional": _Optional(), "Union": _Union()}


def _take(annotation: Any) -> _Take:
    """What an evaluated annotation stands for; classes that are not known take anything."""
    if annotation is None:
        return _Nothing()
    return annotation if isinstance(annotation, _Take) else _Take()


class _Names(Dict[str, Any]):
    """The names in annotations: the library's classes, those above, and anything else for anything."""

    def __missing__(self, name: str) -> Any:
        return _Take()

    def evaluated(self, annotation: Any) -> Any:
        """What the text of an annotation stands for."""
        text = getattr(annotation, "__forward_arg__", annotation)
        return eval(text, {"__builtins__": {}}, self) if isinstance(text, str) else _Take()


def _names(classes: dict[str, Any]) -> _Names:
    from ._handle import _Handle
    names = _Names(_KNOWN)
    for name, kind in classes.items():
        if isinstance(kind, type) and issubclass(kind, _Handle):
            names[name] = _Object(f"a {name}" if name[0] not in "AEIOU" else f"an {name}", kind)
    names["Specials"] = specials = _Several("a list of special tokens, or a dict of their ids")
    specials.takes_dict = True
    for name, kind in vars(options).items():
        if hasattr(kind, "__required_keys__"):
            names[name] = _Fields(kind, names)
    return names


def _plan(function: Callable[..., Any], names: _Names) -> tuple[list[Any], dict[str, Any], _Fields | None]:
    """The names and checks of a function's parameters, in order and by name, None for those without one; and the
    options that Unpack[...] names."""
    ordered: list[Any] = []
    named: dict[str, Any] = {}
    options: _Fields | None = None
    for parameter in inspect.signature(function).parameters.values():
        text, take = parameter.annotation, None
        if parameter.kind == parameter.VAR_KEYWORD:
            found = re.fullmatch(r"Unpack\[(\w+)\]", str(text))
            options = names[found.group(1)] if found else None
            continue
        if isinstance(text, str) and parameter.kind != parameter.VAR_POSITIONAL:
            take = _take(names.evaluated(text))
            take = None if type(take) is _Take else take
        if take is not None and parameter.default is None:
            take = take | None
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            ordered.append((parameter.name, take))
        named[parameter.name] = take
    return ordered, named, options


def _checked(function: Callable[..., Any], names: _Names) -> Callable[..., Any]:
    """The function with a check of its arguments before it."""
    plan: Any = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal plan
        if plan is None:
            plan = _plan(function, names)
        ordered, by_name, options = plan
        if options is None and not named.keys() <= by_name.keys():
            _refuse_names(function, named, by_name)
        fitting = None
        for i, (value, (name, take)) in enumerate(zip(arguments, ordered)):
            if take is not None:
                fits = take.fits(name, value)
                if fits is not value:
                    fitting = fitting or list(arguments)
                    fitting[i] = fits
        for name, value in named.items():
            take = by_name.get(name)
            if take is not None:
                named[name] = take.fits(name, value)
            elif options is not None and name not in by_name:
                named[name] = options.fits_key(name, name, value)
        return function(*(arguments if fitting is None else fitting), **named)

    return call


def _refuse_names(function: Callable[..., Any], named: dict[str, Any], known: dict[str, Any]) -> None:
    """TypeError for arguments by names that a function does not have; what takes any is left alone."""
    if any(one.kind == one.VAR_KEYWORD for one in inspect.signature(function).parameters.values()):
        return
    wrong = next(name for name in named if name not in known)
    known = {name: take for name, take in known.items() if name not in ("self", "cls")}
    raise TypeError(f"{function.__qualname__}() has no argument {wrong!r}{_nearest(wrong, list(known))}")


def _nearest(wrong: str, known: list[str]) -> str:
    """What may be meant by a name."""
    near = difflib.get_close_matches(wrong, known, 1)
    return advice(ARGUMENTS, wrong) or (f": is it {near[0]}?" if near else f": there are {', '.join(known)}")


# Called for single elements or small texts: they check by themselves.
_UNCHECKED = {"Tokenizer.encode", "Tokenizer.encode_array", "Tokenizer.encode_ordinary", "Tokenizer.count",
              "Tokenizer.token", "Tokenizer.token_id", "Tensor.item"}


def _check_class(kind: type, names: _Names) -> None:
    for name, member in list(vars(kind).items()):
        if f"{kind.__name__}.{name}" in _UNCHECKED or (name.startswith("_") and name not in ("__init__", "__call__")):
            continue
        if isinstance(member, types.FunctionType):
            setattr(kind, name, _checked(member, names))
        elif isinstance(member, (classmethod, staticmethod)):
            setattr(kind, name, type(member)(_checked(member.__func__, names)))
        elif isinstance(member, property) and member.fset is not None:
            setattr(kind, name, member.setter(_checked(member.fset, names)))


def check_public(module: dict[str, Any], public: list[str]) -> None:
    """Puts checks before the public functions and methods in the namespace of the package."""
    names = _names(module)
    for name in public:
        value = module[name]
        if isinstance(value, types.FunctionType):
            module[name] = _checked(value, names)
        elif isinstance(value, type) and value.__module__.startswith(__name__.partition(".")[0]) and not issubclass(
                value, (Exception, tuple)):
            _check_class(value, names)
