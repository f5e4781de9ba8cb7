# SPDX-License-Identifier: Apache-2.0
"""A disk that returns with less than it had confirmed: with old blocks, checksums that fit them,
and a list that says nothing of them.  What the others keep of it tells."""

import subprocess
import time

import trilith
from test_links import (create, load, server, start, verify, wait_for_nodes,  # noqa: F401
                        wait_until_in_sync)


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


def stop(server, node):
    done = trilith.cli("node", "stop", node, "--data", server.data)
    assert done.returncode == 0, done.stderr


def come_back(server, node):
    start(server, node)
    wait_for_nodes(server, 3)
    wait_until_in_sync(server)


def test_a_disk_put_back_from_an_image(server, tmp_path):
    node = create(server, 3)[1][0]
    disk, image, state = server.data / node / "disk-1", tmp_path / "image", tmp_path / "state"
    load(server, state, 2)()
    time.sleep(5)  # Until nothing is listed any more.
    stop(server, node)
    copy(disk, image)
    come_back(server, node)
    load(server, state, 3)()
    time.sleep(5)
    stop(server, node)
    copy(image, disk)
    come_back(server, node)
    verify(server, state)
    deadline = time.monotonic() + 60
    while server.cli("disk", "show", f"{node}/disk-1")["health"] != "failing":
        assert time.monotonic() < deadline, server.log()[-4000:]
        time.sleep(0.5)
    shown = server.cli("disk", "show", f"{node}/disk-1")
    assert "has lost what it had confirmed" in shown["health_reason"], shown
