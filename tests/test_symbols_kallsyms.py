"""kallsyms of Linux kernels from the fixture writer: as every version wrote it, told of or not, damaged."""

from __future__ import annotations

from typing import Any

import pytest
from pykvm_fixtures.linux.kallsyms import ORDERS
from pykvm_fixtures.linux.names import BUILD_ID, LONG_NAME
from symbol_tables import Write, listed

import pykvm
from pykvm.symbols import scan

RELATIVE = [order for order, (tables, _) in ORDERS.items() if "offsets" in tables]


@pytest.mark.parametrize("told", [True, False], ids=["told", "searched"])
@pytest.mark.parametrize("word", [8, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_kallsyms_of_every_version(names_dump: Write, order: str, word: int, told: bool) -> None:
    dump = names_dump(order=order, word=word, told=told)
    with pykvm.Kvm(dump.path) as kd:
        assert kd.info.machine == dump.machine
        assert listed(kd.symbols) == dump.symbols
        assert (LONG_NAME in kd.symbols) == order.startswith("6")
        assert kd.symbol_at(dump.at["panic_kernel"] + 3) == ("panic_kernel", 3)
        assert pykvm.kvm_geterr(kd) == ""


@pytest.mark.parametrize("told", [True, False], ids=["told", "searched"])
@pytest.mark.parametrize("order", RELATIVE)
def test_the_rule_for_values(names_dump: Write, order: str, told: bool) -> None:
    """KALLSYMS_ABSOLUTE_PERCPU or not: the tables tell, not the machine."""
    dump = names_dump(order=order, percpu=True, told=told)
    with pykvm.Kvm(dump.path) as kd:
        assert listed(kd.symbols) == dump.symbols
        assert kd.symbol("pcpu_hot") == 0x1000
        with pytest.raises(pykvm.KvmError, match="no symbol at or below"):
            kd.symbol_at(0x1001)  # no address: an offset into each CPU's area


def test_values_that_contradict_vmcoreinfo(names_dump: Write) -> None:
    """Tables that decode, but not to what is known, are no answer."""
    dump = names_dump(info={"SYMBOL(_stext)": "ffffffff85000010"})
    with pytest.raises(pykvm.KvmError, match=r"_stext is at 0xffffffff85000000, by VMCOREINFO at 0xffffffff85000010"):
        pykvm.Kvm(dump.path)
    for rule in ("told", "searched"):
        dump = names_dump(told=rule == "told")
        dump.poke_word(dump.at["kallsyms_relative_base"], 0xFFFFFFFF85000800)
        with pytest.raises(pykvm.KvmError, match="carries no symbols"):
            pykvm.Kvm(dump.path)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"missing": ["kallsyms_names"]}, r"can't read its kallsyms: invalid address \(ffffffff85"),
        ({"missing": ["kallsyms_offsets"]}, r"can't read its kallsyms: invalid address \(ffffffff85"),
        ({"missing": ["kallsyms_token_table"], "told": False}, "VMCOREINFO does not say where its kallsyms is, and"),
        ({"missing": ["kallsyms_names"], "told": False}, "VMCOREINFO does not say where its kallsyms is, and"),
        ({"told": False, "info": {"SYMBOL(_stext)": None}}, "VMCOREINFO does not say where its kallsyms is, and"),
        ({"info": {"SYMBOL(kallsyms_num_syms)": "ffffffff85000000"}}, "kallsyms_num_syms is 3435973836"),
    ],
)
def test_no_symbols_after_all(names_dump: Write, arguments: Any, why: str) -> None:
    """The error says what is missing, and what to give."""
    dump = names_dump(**arguments)
    with pytest.raises(pykvm.KvmError, match=why) as caught:
        pykvm.Kvm(dump.path)
    message = str(caught.value)
    assert message.startswith(f"{dump.path}: this dump carries no symbols (")
    assert message.endswith(
        f"name the vmlinux or System.map of its kernel, 6.1.99-names, BUILD-ID {BUILD_ID} (kernel, -N)"
    )
    assert "\n" not in message
    kernel = dump.vmlinux(dump.path.with_name("vmlinux"))
    with pykvm.Kvm(dump.path, kernel) as kd:
        assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("table", ["names", "markers", "token_table", "token_index", "num_syms"])
def test_damaged_tables(names_dump: Write, table: str, told: bool) -> None:
    """Whatever stands in a table, the answer is right or an error."""
    for damage in (b"\0" * 40, b"\xff" * 40, b"\x01" * 40, b"\x80" * 40):
        dump = names_dump(told=told)
        dump.poke(dump.at[f"kallsyms_{table}"], damage[: 8 if table == "markers" else None])
        if told and table == "markers":  # which are not needed
            with pykvm.Kvm(dump.path) as kd:
                assert listed(kd.symbols) == dump.symbols
        else:
            with pytest.raises(pykvm.KvmError, match="carries no symbols"):
                pykvm.Kvm(dump.path)


def test_a_dump_that_was_cut(names_dump: Write) -> None:
    """Within a page, too: what is left of the kernel is looked through, and the search ends."""
    dump = names_dump(told=False)
    size = dump.path.stat().st_size
    at = dump.files[dump.at["_stext"] // 4096]
    for left in (size - 1, size - 5000, size // 2 + 100, at + 4000, at + 100, at + 1):
        with open(dump.path, "r+b") as f:
            f.truncate(left)
        try:
            with pykvm.Kvm(dump.path) as kd:
                assert listed(kd.symbols) == dump.symbols
        except pykvm.KvmError as e:
            assert "carries no symbols" in str(e)  # noqa: PT017


def test_looking_for_kallsyms_is_bounded(names_dump: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory full of digits, and of what could be tables."""
    dump = names_dump(told=False)
    start = dump.at["_stext"]
    for at in range(start, start + 0x2000, 20):
        dump.poke(at, b"".join(b"%d\0" % i for i in range(10)))
    looks = 0
    real = scan._tokens

    def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(*arguments)

    monkeypatch.setattr(scan, "_tokens", counted)
    with pytest.raises(pykvm.KvmError, match="carries no symbols"):
        pykvm.Kvm(dump.path)
    assert looks == scan.MATCHES
