"""What a socket is: its protocol and addresses, as sockstat(1) says it.

Sources: <sys/socketvar.h>, <netinet/in_pcb.h>, <sys/unpcb.h>.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.common.columns import Columns

AF_LOCAL, AF_INET, AF_INET6 = 1, 2, 28
FAMILIES = {AF_LOCAL: "local", 17: "route", 32: "netgraph", 36: "bluetooth", 38: "netlink"}
TYPES = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket"}
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp", 136: "udplite", 258: "divert"}
WORD = "socket"
VERSIONS = {1: "4", 2: "6", 3: "46"}  # INP_IPV4, INP_IPV6 in inp_vflag


def describe(read: Columns, at: int) -> str:
    """Of a struct socket: `socket: tcp4 127.0.0.1:22 -> 10.0.0.7:4022`, `socket: local stream /var/run/log`; less where
    not all can be told."""
    try:
        memory = read.memory
        proto = memory.read_ptr(at + read.offset("socket", "so_proto"))
        domain = memory.read_ptr(proto + read.offset("protosw", "pr_domain"))
        family = memory.read_i32(domain + read.offset("domain", "dom_family"))
        kind = TYPES.get(memory.read_u16(at + read.offset("socket", "so_type")), "")
        pcb = memory.read_ptr(at + read.offset("socket", "so_pcb"))
        if family in (AF_INET, AF_INET6):
            number = memory.read_u16(proto + read.offset("protosw", "pr_protocol"))
            return f"{WORD}: {_internet(read, family, PROTOCOLS.get(number) or kind or f'ip{number}', pcb)}"
        if family not in FAMILIES:
            return WORD
        words = [f"{WORD}: {FAMILIES[family]}", kind, _local(read, pcb) if family == AF_LOCAL else ""]
        return " ".join(word for word in words if word)
    except KvmError:
        return WORD


def _internet(read: Columns, family: int, protocol: str, pcb: int) -> str:
    """The protocol, and the ends that are known."""
    plain = protocol + ("4" if family == AF_INET else "6")
    if not pcb:
        return plain
    try:
        version = 1
        if family == AF_INET6:
            version = read.memory.read_u8(pcb + read.offset("inpcb", "inp_vflag")) & 3
        ends = [_end(read, pcb, which, version) for which in ("l", "f")]
    except KvmError:
        return plain
    found = protocol + VERSIONS.get(version, "")
    if ends[0] != "*:*" or ends[1] != "*:*":
        found += f" {ends[0]}"
    return found + (f" -> {ends[1]}" if ends[1] != "*:*" else "")


def _end(read: Columns, pcb: int, which: str, version: int) -> str:
    """An address and a port, which are in the network's order; "*" where it is any. An IPv4 address is the end of the
    room for an IPv6 one."""
    inside = "inp_inc.inc_ie."
    raw = read.memory.read(pcb + read.offset("inpcb", f"{inside}ie_depend{which}addr"), 16)
    port = int.from_bytes(read.memory.read(pcb + read.offset("inpcb", f"{inside}ie_{which}port"), 2), "big")
    if version == 1:
        raw = raw[12:]
    if not any(raw):
        address = "*"
    else:
        address = str(IPv4Address(raw)) if version == 1 else f"[{IPv6Address(raw)}]"
    return f"{address}:{port or '*'}"


def _local(read: Columns, pcb: int) -> str:
    """The path that a local socket, or else its peer, is bound to."""
    if not pcb:
        return ""
    own = _bound(read, pcb)
    if own:
        return own
    peer = read.memory.read_ptr(pcb + read.offset("unpcb", "unp_conn"))
    other = _bound(read, peer) if peer else ""
    return f"-> {other}" if other else ""


def _bound(read: Columns, pcb: int) -> str:
    address = read.memory.read_ptr(pcb + read.offset("unpcb", "unp_addr"))
    if not address:
        return ""
    start = read.offset("sockaddr_un", "sun_path")
    length = read.memory.read_u8(address + read.offset("sockaddr_un", "sun_len"))
    raw = read.memory.read(address + start, max(0, length - start))
    return text(raw.split(b"\0")[0])
