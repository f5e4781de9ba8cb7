# SPDX-License-Identifier: Apache-2.0
"""The project keeps the rules of rules.py, and each check finds a violation where there is one."""

import os
import pathlib
import shutil
import subprocess

import pytest

import rules

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / os.environ.get("TRILITH_BUILD", "build-asan")
FUNCTION = "static int f(void)\n{\n%s    return 0;\n}\n"
HEAD = f"/* {rules.SPDX} */\n"

# check: (path, text) of a file that breaks exactly that rule.
VIOLATIONS = {
    rules.file_lengths: [("src/base/x.c", HEAD + "\n" * 1000)],
    rules.line_lengths: [("src/base/x.c", HEAD + "/* " + "x" * 100 + " */\n"),
                         ("tests/run", f"#!/bin/sh\n# {rules.SPDX}\n" + "x" * 101 + "\n")],
    rules.function_lengths: [("src/base/x.c", FUNCTION % ("    f();\n" * 70))],
    rules.layer_includes: [("src/base/x.c", '#include "io/op.h"\n'),
                           ("src/store/x.h", '#include "store/y.h"\n#include "volume/v.h"\n'),
                           ("src/nvme/x.c", '#include "io/uring_internal.h"\n'),
                           ("src/nvme/x.c", '#include "pdu.h"\n'),
                           ("src/ctl/x.c", '#include "nvme/pdu.h"\n'),
                           ("src/stuff/x.c", "int x;\n")],
    rules.banned_calls: [("src/cmd/x.c", FUNCTION % "    sprintf(a, b);\n"),
                         ("tests/unit/x.c", FUNCTION % "    x = rand ();\n")],
    rules.standard_output: [("src/nvme/x.c", FUNCTION % '    printf("%d", 1);\n')],
    rules.operating_system: [("src/nvme/x.c", FUNCTION % "    (void)read(fd, a, 1);\n"),
                             ("src/store/x.c", FUNCTION % "    if (time(NULL) > 3)\n"),
                             ("src/rpc/other.c", FUNCTION % "    return socket(1, 2, 3);\n")],
    rules.unfinished: [("src/base/x.c", HEAD + "/* TODO: the rest. */\n"),
                       ("docs/x.md", "FIXME\n")],
    rules.licenses: [("src/base/x.c", "/* Apache, too. */\n"), ("tests/run", "#!/bin/sh\n")],
    rules.checked_status: [("src/base/x.h", "struct status\nf(void);\nstruct status g(int\na);\n")],
    rules.formatting: [("src/base/x.c", "int  f ( void );\n")],
    rules.spelling: [("src/base/x.c", "/* We recieve it. */\n")],
}

# Near misses, in which no check may find anything.
INNOCENT = [
    ("src/nvme/x.c",
     HEAD + '#include "nvme/pdu.h"\n\n/* read(fd) and printf() in a comment */\n'
     + FUNCTION % ('    ops->read(fd);\n    io.close(1);\n    dev_read(1);\n'
                   '    log("write(2) sprintf()");\n')),
    ("src/ctl/x.c", HEAD + '#include "nvme/nqn.h"\n'),
    ("src/cmd/x.c", HEAD + FUNCTION % '    printf("%d", open("x", 0));\n'),
    ("src/nvme/y.c", HEAD + "static int send(int a)\n{\n    return send(a - 1);\n}\n"),
    ("src/io/x.c", HEAD + FUNCTION % "    return close(fd);\n"),
    ("src/base/x.h", HEAD + "struct status f(int a, int b) MUST_CHECK;\n"),
]

NEEDED = {rules.formatting: "clang-format", rules.spelling: "codespell"}


def tree_of(tmp_path, files):
    for path, text in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    shutil.copy(ROOT / ".clang-format", tmp_path)
    return rules.Tree(tmp_path, [path for path, _ in files])


def need_program(check):
    if check in NEEDED and shutil.which(NEEDED[check]) is None:
        pytest.skip(f"{NEEDED[check]} is not installed")


@pytest.mark.parametrize("check", VIOLATIONS, ids=lambda check: check.__name__)
def test_project(check):
    need_program(check)
    problems = list(check(rules.Tree.tracked(ROOT)))
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize(
    "check, file", [(check, file) for check, files in VIOLATIONS.items() for file in files],
    ids=lambda value: value.__name__ if callable(value) else value[0])
def test_check_can_fail(check, file, tmp_path):
    need_program(check)
    assert list(check(tree_of(tmp_path, [file]))), f"{check.__name__} misses it"


@pytest.mark.parametrize("check", VIOLATIONS, ids=lambda check: check.__name__)
def test_check_spares_the_innocent(check, tmp_path):
    need_program(check)
    assert not list(check(tree_of(tmp_path, INNOCENT)))


def test_project_has_no_mutable_globals():
    """L1, on the objects of the build that is being tested."""
    assert list(BUILD.glob("src/base/*.p/*.o")), f"{BUILD} holds no objects"
    problems = list(rules.mutable_globals(rules.Tree.tracked(ROOT), BUILD))
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("text, found", [
    ("int x;", True),
    ("static int x; int *f(void) { return &x; }", True),
    ("int *f(void) { static int n = 3; n++; return &n; }", True),
    ("static const char *names[] = {\"a\"}; const char **f(void) { return names; }", True),
    ("_Thread_local int x;", True),
    ("const int x = 3; static const char *const n[] = {\"a\"}; const void *f(void) { return n; }",
     False),
])
@pytest.mark.parametrize("flags", [[], ["-fsanitize=address,undefined"]], ids=["plain", "asan"])
def test_mutable_globals_can_fail(text, found, flags, tmp_path):
    out = tmp_path / "src" / "store" / "store.p" / "x.o"
    out.parent.mkdir(parents=True)
    subprocess.run(["gcc", "-g", "-fPIE", "-fno-common", *flags, "-x", "c", "-", "-c", "-o", out],
                   input=text, text=True, check=True)
    problems = list(rules.mutable_globals(rules.Tree(tmp_path, [])))
    assert bool(problems) == found, problems
