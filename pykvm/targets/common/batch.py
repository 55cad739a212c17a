"""Processes of one list, and what is known of them: columns, each read when it is asked for first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pykvm.targets.base import Parts, Target
from pykvm.targets.common.columns import Columns, Member

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound=Target)
Maker = Callable[[Any], Mapping[str, Sequence[Any]]]


class Source(Protocol):
    """A module that knows some columns. MEMBERS: those that are members as they are, by name; MAKERS: how to make the
    others: the words of a key are columns that a maker's result has (it may hold more)."""

    MEMBERS: Any
    MAKERS: Any


def gathered(sources: Sequence[Any]) -> tuple[dict[str, Member], dict[str, Maker]]:
    """The columns of all sources."""
    members = {name: member for source in sources for name, member in source.MEMBERS.items()}
    makers = {name: make for source in sources for columns, make in source.MAKERS.items() for name in columns.split()}
    return members, makers


class Batch(Generic[T]):
    """Some processes, by the addresses of their structures: batch["uid"] is the column of their user ids.

    A kernel's own class says in MEMBERS and MAKERS what its columns are. `keys` are those that everything else is
    found from, `whole` the list that these processes were chosen from. After the handle is closed, columns that were
    not read yet raise KvmError.
    """

    MEMBERS: ClassVar[Mapping[str, Member]] = {}
    MAKERS: ClassVar[Mapping[str, Maker]] = {}

    def __init__(
        self, target: T, parts: Parts, keys: Mapping[str, Sequence[Any]], whole: Batch[T] | None = None
    ) -> None:
        self.target = target
        self.parts = parts
        self._chosen_from = whole
        self.read = Columns.of(target, parts)
        self.known: dict[str, Sequence[Any]] = dict(keys)
        self._length = len(next(iter(keys.values())))

    @property
    def whole(self) -> Any:
        """The list that these were chosen from: this one, if they were not."""
        return self if self._chosen_from is None else self._chosen_from

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> Sequence[Any]:
        found = self.known.get(name)
        if found is None:
            member = self.MEMBERS.get(name)
            if member is None:
                self.known.update(self.MAKERS[name](self))
            else:
                self.known[name] = self.read.member(
                    self[member.base], member.struct, *member.paths, signed=member.signed
                )
            found = self.known[name]
        return found

    def become(self, parts: Parts) -> None:
        """From now on what is not known yet is read from these parts."""
        self.parts, self._chosen_from = parts, None
        self.read = Columns.of(self.target, parts)

    def choose(self, places: Sequence[int]) -> Self:
        """The processes at these places of the list; what is known of them goes with them."""
        known = {name: [column[i] for i in places] for name, column in self.known.items()}
        return type(self)(self.target, self.parts, known, self.whole)
