# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import host
import image


@pytest.fixture(scope="module")
def booted():
    """The guests of a module: one is booted, and another one when a test has broken it."""
    reason = image.why_impossible()
    if reason:
        pytest.skip(reason)
    keeper = host.Keeper()
    yield keeper
    keeper.stop()


def watched(running, request):
    """Lends a guest to a test; afterwards it has no connections, and its kernel nothing to
    complain about."""
    seen = len(running.console())
    yield running
    if not running.broken:
        host.disconnect_all(running)
        complaints = host.complaints(running.console()[seen:])
        allowed = request.node.get_closest_marker("kernel_may_say")
        complaints = [line for line in complaints
                      if allowed is None or not any(text in line for text in allowed.args)]
        assert not complaints, "the guest's kernel says:\n" + "\n".join(complaints)


@pytest.fixture
def guest(booted, request):
    yield from watched(booted.get(), request)


@pytest.fixture(scope="module")
def second_booted(booted):
    """As booted: another machine, for tests that name both."""
    keeper = host.Keeper(**booted.options)
    yield keeper
    keeper.stop()


@pytest.fixture
def second_guest(second_booted, request):
    yield from watched(second_booted.get(), request)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`trilith up` with three disks, which advertises the address that the guest sees."""
    running = host.new_server(tmp_path_factory.mktemp("up")).start()
    yield running
    running.stop()


def pytest_configure(config):
    config.addinivalue_line("markers",
                            "kernel_may_say(text...): complaints of the kernel that are expected")
