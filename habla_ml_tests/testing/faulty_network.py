"""Proxies with faults of the network, between our processes and an S3 server or PostgreSQL.

No package of the registries does this in a process of Python: the known ones are clients of Toxiproxy, a program in Go, or
need the rights of the network's administrator (netem).

`FaultyHttp` reads whole requests and answers, so that it can lose an answer after the server acted, and deliver a request
twice. `FaultyTcp` passes bytes on, and cuts, holds or slows a connection after some of them.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_BLOCK_BYTES = 1 << 16
_SLOW_BLOCKS = 20
_LATER_S = 0.2
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection: *[^\r]*", re.IGNORECASE)


class Fault(StrEnum):
    """What the network does to a request, or to a connection."""

    REFUSED = "connection refused"
    CUT_REQUEST = "reset in the middle of the request"
    CUT_ANSWER = "reset in the middle of the answer"
    LOST_ANSWER = "answer lost after the server acted"
    HELD = "answer held for longer than the time limit"
    SLOW = "slow bytes"
    TWICE = "delivered twice, the second answer counts"
    AGAIN_LATER = "delivered again later"


HTTP_FAULTS = tuple(Fault)
TCP_FAULTS = (Fault.REFUSED, Fault.CUT_REQUEST, Fault.CUT_ANSWER, Fault.LOST_ANSWER, Fault.HELD, Fault.SLOW)


@dataclass
class FaultPlan:
    """Chooses the fault of each request; threads share it."""

    choose: Callable[[str], Fault | None] = lambda _: None
    """From `GET /path` (empty for a connection that is no HTTP) to the fault, or None."""
    held_s: float = 2.0
    slow_s: float = 0.5
    counted: Counter[Fault] = field(default_factory=Counter)
    """Faults that happened."""

    def pick(self, request: str) -> Fault | None:
        """Choose and count."""
        fault = self.choose(request)
        if fault is not None:
            self.counted[fault] += 1
        return fault


def fail_once(fault: Fault, pattern: str, number: int = 1) -> Callable[[str], Fault | None]:
    """Return a choice for `FaultPlan`: one request with this pattern gets the fault, the first by default."""
    numbers = count(1)
    return lambda request: fault if re.search(pattern, request) and next(numbers) == number else None


def fail_at_random(faults: tuple[Fault, ...], share: float, seed: int) -> Callable[[str], Fault | None]:
    """Return a choice for `FaultPlan`: a share of the requests gets a random fault."""
    rng = random.Random(seed)
    return lambda _: rng.choice(faults) if rng.random() < share else None


def parse_address(endpoint: str) -> tuple[str, int]:
    """Return host and port of an address such as `http://127.0.0.1:9000`."""
    parts = urlsplit(endpoint)
    return parts.hostname or "", parts.port or 80


class FaultyNetwork:
    """Proxies of servers whose faults begin and end together; a context manager that ends them."""

    def __init__(self, held_s: float = 2.0) -> None:
        self._held_s, self._stack = held_s, ExitStack()
        self._plans: list[tuple[FaultPlan, tuple[Fault, ...]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def put_before_http(self, endpoint: str) -> str:
        """Return an address for clients of an HTTP server."""
        plan = self._make_plan(HTTP_FAULTS)
        return self._stack.enter_context(FaultyHttp(parse_address(endpoint), plan)).endpoint

    def put_before_tcp(self, host: str, port: int) -> int:
        """Return a port of this machine for clients of a server."""
        return self._stack.enter_context(FaultyTcp((host, port), self._make_plan(TCP_FAULTS))).port

    def begin(self, share: float, seed: int) -> None:
        """Give this share of the HTTP requests, and of the new connections to other servers, a random fault."""
        for number, (plan, faults) in enumerate(self._plans):
            plan.choose = fail_at_random(faults, share, seed + number)

    def end(self) -> None:
        """Let everything pass again."""
        for plan, _ in self._plans:
            plan.choose = lambda _: None

    def count(self) -> dict[str, int]:
        """Return fault → how often it happened."""
        counted = sum((plan.counted for plan, _ in self._plans), Counter[Fault]())
        return {str(fault): counted[fault] for fault in Fault if counted[fault]}

    def _make_plan(self, faults: tuple[Fault, ...]) -> FaultPlan:
        self._plans.append((FaultPlan(held_s=self._held_s), faults))
        return self._plans[-1][0]


class _FaultyProxy(ABC):
    """Listens on a port of this machine until its `with` block ends."""

    def __init__(self, target: tuple[str, int], plan: FaultPlan) -> None:
        self.plan, self._target = plan, target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._is_open = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while self._is_open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_client, args=(client,), daemon=True).start()

    def _serve_client(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(client)

    @abstractmethod
    def _serve(self, client: socket.socket) -> None:
        """Pass on what a client sends, with or without a fault."""

    def _connect(self) -> socket.socket:
        server = socket.create_connection(self._target)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _send_slowly(self, receiver: socket.socket, data: bytes) -> None:
        size = max(1, len(data) // _SLOW_BLOCKS)
        for start in range(0, len(data), size):
            receiver.sendall(data[start : start + size])
            time.sleep(self.plan.slow_s / _SLOW_BLOCKS)


class FaultyHttp(_FaultyProxy):
    """A proxy of an HTTP server; one request for each connection to the server."""

    def __init__(self, target: tuple[str, int], plan: FaultPlan) -> None:
        super().__init__(target, plan)
        self.again: list[bytes] = []
        """Answers to requests that were delivered again later."""

    @property
    def endpoint(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, client: socket.socket) -> None:
        head, body = _receive_request(client)
        if not head:
            return None
        request = b" ".join(head.split(b" ", 2)[:2]).decode()
        fault = self.plan.pick(request)
        message = head + body
        if fault == Fault.REFUSED:
            return _reset(client)
        if fault == Fault.CUT_REQUEST:
            with self._connect() as server:
                server.sendall(message[: len(message) // 2])
                _reset(server)
            return _reset(client)
        answer = self._exchange(message)
        if fault == Fault.TWICE:
            answer = self._exchange(message)
        if fault == Fault.LOST_ANSWER:
            return _reset(client)
        if fault == Fault.CUT_ANSWER:
            head, _, body = answer.partition(b"\r\n\r\n")
            client.sendall(answer[: len(answer) - len(body) // 2 - 1] if body else head[: len(head) // 2])
            return _reset(client)
        if fault == Fault.HELD:
            time.sleep(self.plan.held_s)
        if fault == Fault.SLOW:
            return self._send_slowly(client, answer)
        client.sendall(answer)
        if fault == Fault.AGAIN_LATER:
            time.sleep(_LATER_S)
            self.again.append(self._exchange(message))
        return None

    def _exchange(self, message: bytes) -> bytes:
        with self._connect() as server:
            server.sendall(message)
            answer = b""
            while block := server.recv(_BLOCK_BYTES):
                answer += block
        return answer


class FaultyTcp(_FaultyProxy):
    """A proxy of any server; each connection has at most one fault, after some bytes in one direction."""

    def __init__(self, target: tuple[str, int], plan: FaultPlan, seed: int = 1, longest_bytes: int = 20_000) -> None:
        super().__init__(target, plan)
        self._rng, self._longest_bytes = random.Random(seed), longest_bytes

    def _serve(self, client: socket.socket) -> None:
        fault = self.plan.pick("")
        if fault == Fault.REFUSED:
            return _reset(client)
        at = self._rng.randrange(1, self._longest_bytes)
        with self._connect() as server:
            is_request = fault == Fault.CUT_REQUEST
            one = threading.Thread(target=self._pass_on, args=(client, server, fault if is_request else None, at))
            one.start()
            self._pass_on(server, client, None if is_request else fault, at)
            one.join()
        return None

    def _pass_on(self, sender: socket.socket, receiver: socket.socket, fault: Fault | None, at: int) -> None:
        """Pass bytes on until a side ends, with the fault in the block that has byte `at`."""
        passed = 0
        try:
            while block := sender.recv(_BLOCK_BYTES):
                is_now = fault is not None and passed <= at < passed + len(block)
                passed += len(block)
                if is_now and fault == Fault.HELD:
                    time.sleep(self.plan.held_s)
                if is_now and fault in (Fault.CUT_REQUEST, Fault.CUT_ANSWER):
                    receiver.sendall(block[: len(block) // 2])
                if is_now and fault in (Fault.CUT_REQUEST, Fault.CUT_ANSWER, Fault.LOST_ANSWER):
                    _reset(sender)
                    _reset(receiver)
                    return
                if is_now and fault == Fault.SLOW:
                    self._send_slowly(receiver, block)
                else:
                    receiver.sendall(block)
        except OSError:
            pass
        for each in (sender, receiver):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _receive_request(client: socket.socket) -> tuple[bytes, bytes]:
    """Return head and body of a request, ready for a server that closes the connection; empty if the client ended."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (block := client.recv(_BLOCK_BYTES)):
            return b"", b""
        received += block
    head, _, body = received.partition(b"\r\n\r\n")
    if _EXPECT.search(head):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = _CONTENT_LENGTH.search(head)
    parts, left = [body], (int(length[1]) if length else 0) - len(body)
    while left > 0:
        if not (block := client.recv(min(left, _BLOCK_BYTES))):
            return b"", b""
        parts.append(block)
        left -= len(block)
    head = _CONNECTION.sub(b"", _EXPECT.sub(b"", head))
    return head + b"\r\nConnection: close\r\n\r\n", b"".join(parts)


def _reset(end: socket.socket) -> None:
    """End a connection with a reset in place of a proper end."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread may still read from it, and then a close alone would not end the connection.
        end.shutdown(socket.SHUT_RD)
    end.close()
