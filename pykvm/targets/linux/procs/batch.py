"""Processes of one list, and what is known of them: columns, each read when it is asked for first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.base import Parts
from pykvm.targets.linux.procs import cputime, ids, names, signals, sizes, state, terminals, usage
from pykvm.targets.linux.procs.columns import Columns, Member

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

PARTS = (ids, terminals, state, names, cputime, usage, sizes, signals)
# Columns that are members as they are, by name; and how to make the others: the first column of a maker's result has
# the name that it stands under, the result may hold more.
MEMBERS: Mapping[str, Member] = {name: member for part in PARTS for name, member in part.MEMBERS.items()}
MAKERS: Mapping[str, Callable[[Batch], Mapping[str, Sequence[Any]]]] = {
    name: make for part in PARTS for columns, make in part.MAKERS.items() for name in columns.split()
}


class Batch:
    """Some processes, by the addresses of their leaders: batch["uid"] is the column of their user ids.

    `whole`: the list that they were chosen from. After the handle is closed, columns that were not read yet raise
    KvmError.
    """

    def __init__(self, target: Linux, parts: Parts, tasks: Sequence[int], whole: Batch | None = None) -> None:
        self.target = target
        self.parts = parts
        self.tasks = tasks
        self.whole = self if whole is None else whole
        self.read = Columns(parts.memory, target.types, target.byteorder, target.pointer_size)
        self.known: dict[str, Sequence[Any]] = {"task": tasks, "paddr": tasks}

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, name: str) -> Sequence[Any]:
        found = self.known.get(name)
        if found is None:
            member = MEMBERS.get(name)
            if member is None:
                self.known.update(MAKERS[name](self))
            else:
                self.known[name] = self.read.member(
                    self[member.base], member.struct, *member.paths, signed=member.signed
                )
            found = self.known[name]
        return found

    def choose(self, places: Sequence[int]) -> Batch:
        """The processes at these places of the list; what is known of them goes with them."""
        chosen = Batch(self.target, self.parts, [self.tasks[i] for i in places], self.whole)
        for name, column in self.known.items():
            chosen.known[name] = [column[i] for i in places]
        return chosen
