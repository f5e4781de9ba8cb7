# SPDX-License-Identifier: Apache-2.0
"""Man pages and --help say the same: every command has a page and every subcommand a place in it,
and every option is in both, where it belongs."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TRILITH = ROOT / os.environ.get("TRILITH_BUILD", "build-asan") / "trilith"
MAN = ROOT / "docs/man"

# The overviews list what a command does: each subcommand is a verb there, but for these.
IN_OTHER_WORDS = {("node", "loss"): "losing"}
# They say what a scrub is; its subcommands begin it, show it and end it.
WITHOUT_SUBCOMMANDS = {"scrub"}


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


def section(roff, name):
    """The body of a .SH of a man page; empty if there is none."""
    found = re.search(rf"^\.SH {name}\n(.*?)(?=^\.SH |\Z)", plain(roff), re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def by_subcommand(text):
    """Of a section whose .SS name subcommands: the text that each of them has, from all of its."""
    found = {}
    for part in re.split(r"^\.SS ", text, flags=re.MULTILINE)[1:]:
        names, _, body = part.partition("\n")
        for name in names.split(", "):
            found[name] = found.get(name, "") + body
    return found


def page_problems(command, options_of, roff):
    """What is wrong with the page of a command with subcommands, whose long options are given."""
    problems = []
    options = by_subcommand(section(roff, "OPTIONS"))
    described = by_subcommand(section(roff, "DESCRIPTION"))
    synopsis = re.findall(rf"^\.B trilith {command} (\S+)$", section(roff, "SYNOPSIS"),
                          re.MULTILINE)
    for what, has in (("SYNOPSIS", synopsis), ("DESCRIPTION", described), ("OPTIONS", options)):
        problems += [f"{what} lacks '{name}'" for name in options_of if name not in has]
        problems += [f"{what} has '{name}', which there is not" for name in has
                     if name not in options_of]
    for name in options_of:
        problems += [f"{name}: {text}" for text in
                     differences(options_of[name], man_options(options.get(name, "")))]
    return problems


def verb_is_named(name, text):
    """Whether a text has a verb: "verify" or "verifies"."""
    third = name[:-1] + "ies" if name.endswith("y") else name + "s"
    return re.search(rf"\b(?:{name}|{third})\b", text, re.IGNORECASE) is not None


def unnamed(command, subcommands, text):
    """The subcommands that an overview's text about a command leaves out."""
    if command in WITHOUT_SUBCOMMANDS:
        return []
    return [f"trilith {command} {name}" for name in subcommands
            if not verb_is_named(IN_OTHER_WORDS.get((command, name), name), text)]


def help_line(text, command):
    """What a table of commands says of one."""
    return re.search(rf"^  {command} +(\S.*)$", text, re.MULTILINE).group(1)


def overview(roff, command):
    """What trilith(1) says of a command."""
    return re.search(rf'^\.BR? "?trilith {command}\b.*\n(.*)$', plain(roff), re.MULTILINE).group(1)


def differences(from_help, from_man):
    """--help says of itself that it is there; a page may."""
    from_help, from_man = from_help - {"help"}, from_man - {"help"}
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


@pytest.mark.parametrize("command", [page.stem.removeprefix("trilith-") for page in pages()])
def test_overviews_name_subcommands(command):
    """Both trilith(1) and `trilith --help`: who does not find it there does not look for it."""
    subcommands = commands(run_help(command))
    assert not unnamed(command, subcommands, help_line(run_help(), command))
    assert not unnamed(command, subcommands, overview((MAN / "trilith.1").read_text(), command))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_options_agree(page):
    command = page.stem.removeprefix("trilith-")
    roff = page.read_text()
    text = run_help(command)
    subcommands = {name: help_options(run_help(command, name)) for name in commands(text)}
    if subcommands:
        problems = page_problems(command, subcommands, roff)
    else:
        problems = differences(help_options(text), man_options(section(roff, "OPTIONS")))
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
            ".TP\n.B \\-\\-only\\-man\n.SH FILES\n.TP\n.B \\-\\-output\n")
    assert help_options(text) == {"output", "api"}
    assert man_options(section(roff, "OPTIONS")) == {"api", "only-man"}
    assert differences(help_options(text), man_options(section(roff, "OPTIONS"))) == [
        "--output is not in the man page", "--only-man is not in --help"]


PAGE = """.SH SYNOPSIS
.B trilith pot fill
.br
.B trilith pot empty
.SH DESCRIPTION
.SS fill
.SS empty
.SH OPTIONS
.SS fill
.TP
.B \\-\\-hot
.SS fill, empty
.TP
.B \\-\\-wait
.SH EXIT STATUS
"""


@pytest.mark.parametrize("was, becomes, problems", [
    ("", "", []),
    (".B trilith pot empty\n", "", ["SYNOPSIS lacks 'empty'"]),
    (".SS empty\n", "", ["DESCRIPTION lacks 'empty'"]),
    (".SS fill, empty\n", ".SS empty\n", ["fill: --wait is not in the man page"]),
    (".SS fill, empty\n", "", ["OPTIONS lacks 'empty'", "empty: --wait is not in the man page"]),
    (".SS fill\n.TP\n", ".SS fill, empty\n.TP\n", ["empty: --hot is not in --help"]),
    (".SS fill, empty\n", ".SS fill, empty, sell\n", ["OPTIONS has 'sell', which there is not"]),
])
def test_check_of_subcommands_can_fail(was, becomes, problems):
    """A subcommand that is left out is found, and an option that is another one's."""
    assert was in PAGE
    options_of = {"fill": {"hot", "wait"}, "empty": {"wait"}}
    assert page_problems("pot", options_of, PAGE.replace(was, becomes)) == problems


def test_check_of_overviews_can_fail():
    text = "commands:\n  pot   fill and verify pots\n"
    roff = '.TP\n.BR "trilith pot" ", see " trilith-pot (1)\nFills, empties and verifies pots.\n'
    names = ["fill", "empty", "verify"]
    assert unnamed("pot", names, help_line(text, "pot")) == ["trilith pot empty"]
    assert unnamed("pot", names, overview(roff, "pot")) == []
    assert unnamed("pot", ["resize"], overview(roff, "pot")) == ["trilith pot resize"]
    assert unnamed("node", ["loss"], "what losing some would lose") == []
    assert unnamed("node", ["loss"], "run, start and stop nodes") == ["trilith node loss"]
