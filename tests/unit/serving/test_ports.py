"""Free ports, taken ports, and who has them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from repository_builder.errors import ServerError
from repository_builder.serving import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_zero_gives_different_free_ports() -> None:
    first = ports.choose(0, "http")
    second = ports.choose(0, "grpc", {first})
    assert first != second
    assert ports.choose(first, "http") == first


def test_a_taken_port_is_an_error_with_its_holder(taken: int) -> None:
    with pytest.raises(ServerError, match=f"port {taken} cannot be used for grpc") as caught:
        ports.choose(taken, "grpc")
    assert f"process {os.getpid()} (" in str(caught.value)
    assert "leave --grpc-port out" in str(caught.value)


@pytest.mark.parametrize("number", [-1, 65_536])
def test_no_port(number: int) -> None:
    with pytest.raises(ServerError, match="is not a port"):
        ports.choose(number, "http")


def test_the_same_port_twice() -> None:
    port = ports.choose(0, "http")
    with pytest.raises(ServerError, match="asked for twice"):
        ports.choose(port, "grpc", {port})


def test_nobody_holds_a_free_port() -> None:
    assert ports.owner(ports.choose(0, "http")) == ""
