# SPDX-License-Identifier: Apache-2.0
"""Man pages and --help say the same: every command has a page, every option is in both."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TRILITH = ROOT / os.environ.get("TRILITH_BUILD", "build-asan") / "trilith"
MAN = ROOT / "docs/man"


def run_help(*command):
    done = subprocess.run([TRILITH, *command, "--help"], stdout=subprocess.PIPE, text=True,
                          timeout=60, check=True)
    return done.stdout


def commands(text):
    """The names in the table of commands that a --help prints; none if it prints none."""
    table = re.search(r"^commands:\n((?:  \S.*\n)+)", text, re.MULTILINE)
    return re.findall(r"^  (\S+)", table.group(1), re.MULTILINE) if table else []


def help_options(text):
    """The long options of a --help: those that start a line."""
    return set(re.findall(r"^ +(?:-\w, )?--([a-z][a-z-]*)", text, re.MULTILINE))


def plain(roff):
    """A man page without the escapes and fonts that could split an option."""
    roff = re.sub(r"\\f(?:\w|\(\w\w)", "", roff)
    return roff.replace("\\-", "-").replace("\\ ", " ")


def man_options(roff):
    """The long options that a man page describes: those in the tags after .TP and .TQ."""
    found = set()
    for tag in re.findall(r"^\.T[PQ].*\n(.*)$", plain(roff), re.MULTILINE):
        found |= set(re.findall(r"--([a-z][a-z-]*)", tag))
    return found


def all_options(command):
    text = run_help(command)
    found = help_options(text)
    for name in commands(text):
        found |= help_options(run_help(command, name))
    return found


def differences(from_help, from_man):
    return ([f"--{name} is not in the man page" for name in sorted(from_help - from_man)]
            + [f"--{name} is not in --help" for name in sorted(from_man - from_help)])


def pages():
    return sorted(MAN.glob("trilith-*.1"))


def test_every_command_has_a_page():
    names = set(commands(run_help())) - {"version"}
    missing = [name for name in sorted(names) if not (MAN / f"trilith-{name}.1").exists()]
    assert not missing
    text = plain((MAN / "trilith.1").read_text())
    assert not [name for name in sorted(names) if f"trilith {name}" not in text]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_options_agree(page):
    command = page.stem.removeprefix("trilith-")
    problems = differences(all_options(command) - {"help"},
                           man_options(page.read_text()) - {"help"})
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", sorted(MAN.glob("*.1")), ids=lambda page: page.stem)
def test_pages_are_complete(page):
    text = page.read_text()
    name = page.stem
    assert text.startswith('.\\" SPDX-License-Identifier: Apache-2.0\n')
    assert f".TH {name.upper()} 1" in text
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS"):
        assert f".SH {section}\n" in text, section
    assert f"\n{name} \\- " in text


def test_check_can_fail():
    """An option that is only in one of the two is found, on either side."""
    text = "options:\n  -o, --output FORMAT  x\n      --api ADDR  y, not --this\n"
    roff = (".SH OPTIONS\n.TP\n.BI \\-\\-api \\ ADDR\nSee\n.B \\-\\-other\n"
            ".TP\n.B \\-\\-only\\-man\n")
    assert help_options(text) == {"output", "api"}
    assert man_options(roff) == {"api", "only-man"}
    assert differences(help_options(text), man_options(roff)) == [
        "--output is not in the man page", "--only-man is not in --help"]
