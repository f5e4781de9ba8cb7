# SPDX-License-Identifier: Apache-2.0
"""What the source must look like, as far as a program can tell.

Each check is a function of a Tree that yields problems, "path:line: what is wrong".  The tables
at the top are the rules; test_style.py runs every check on the project and on a small tree with a
violation, which it must find.
"""

import pathlib
import re
import subprocess

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# What a layer's files may include, besides their own folder.  It says the same as the
# dependencies in src/*/meson.build, where a wrong one does not link.
LAYERS = {
    "base": set(),
    "repl": {"base"},
    "io": {"base"},
    "nvme": {"base", "io"},
    "disk": {"base", "io"},
    "store": {"base", "io", "disk", "nvme"},
    "peer": {"base", "repl", "io", "disk", "nvme", "store"},
    "volume": {"base", "repl", "io", "disk", "nvme", "store", "peer"},
    "meta": {"base", "repl"},
    "rpc": {"base", "repl"},
    "ctl": {"base", "repl", "meta", "rpc"},
    "node": {"base", "repl", "io", "disk", "nvme", "store", "peer", "volume", "rpc"},
    "cmd": {"base", "repl", "io", "disk", "nvme", "store", "peer", "volume", "meta", "rpc", "ctl",
            "node"},
}

# Single headers that another layer may use beyond that: what names volumes and hosts may have, and
# what an address is.
HEADERS = {"ctl": {"io/addr.h", "nvme/nqn.h"}}

# Functions that are not to be used anywhere, and what to use.
BANNED = {
    "strcpy": "snprintf", "strcat": "snprintf", "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "gets": "fgets", "strtok": "a loop", "alloca": "an array with a limit",
    "rand": "base/rng.h", "srand": "base/rng.h", "random": "base/rng.h", "drand48": "base/rng.h",
    "atoi": "strtoul, checked", "atol": "strtoul, checked", "atof": "strtod, checked",
    "asctime": "strftime", "ctime": "strftime", "tmpnam": "mkstemp", "mktemp": "mkstemp",
    "system": "posix_spawn",
}

# Standard output belongs to the commands.
STDOUT = {"printf", "vprintf", "puts", "putchar", "putc"}

# L2: I/O, time and randomness of the operating system...
OPERATING_SYSTEM = {
    "read", "write", "pread", "pwrite", "readv", "writev", "preadv", "pwritev", "open", "openat",
    "close", "fopen", "fdopen", "fread", "fwrite", "fgets", "fsync", "fdatasync", "ftruncate",
    "fallocate", "posix_fallocate", "unlink", "rename", "mkdir", "stat", "fstat", "lstat",
    "ioctl", "fcntl", "flock", "socket", "connect", "accept", "accept4", "bind", "listen",
    "send", "sendto", "sendmsg", "recv", "recvfrom", "recvmsg", "shutdown", "getaddrinfo", "poll",
    "ppoll", "select", "epoll_wait", "clock_gettime", "gettimeofday", "time", "nanosleep",
    "usleep", "sleep", "getrandom", "getentropy", "eventfd", "timerfd_create", "pthread_create",
    "fork", "execv", "execvp",
}
# ... are for these alone: the reactor, the commands, and one adapter file per library.
MAY_USE_OPERATING_SYSTEM = {"src/io/", "src/cmd/",
                            "src/disk/probe.c",  # libblkid
                            "src/disk/device_logs.c",  # the devices' own commands
                            "src/meta/sqlite.c", "src/rpc/grpc.c"}

# L1: mutable variables of file scope or longer are for the commands alone.
MAY_HAVE_GLOBALS = {"src/cmd/"}

SPDX = "SPDX-License-Identifier: Apache-2.0"
SOURCE_SUFFIXES = {".c", ".h", ".py", ".sh", ".proto", ".build", ".md"}
C_SUFFIXES = {".c", ".h"}

# Words that codespell takes for misspellings.
NOT_MISSPELLED = "nd,ot,fo,te,ans,fuse,inout,ba,ue,wrd,iif,statics,crate,clen,parms,hsi"


class Tree:
    """The files to check, relative to root, with their text."""

    def __init__(self, root, paths):
        self.root = pathlib.Path(root)
        self.paths = [path for path in paths if (self.root / path).is_file()]

    @classmethod
    def tracked(cls, root):
        listed = subprocess.check_output(["git", "-C", root, "ls-files", "-co",
                                          "--exclude-standard"], text=True)
        return cls(root, listed.splitlines())

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def sources(self):
        for path in self.paths:
            if pathlib.Path(path).suffix in SOURCE_SUFFIXES or self.is_script(path):
                yield path

    def is_script(self, path):
        with open(self.root / path, "rb") as file:
            return path == "Makefile" or file.read(2) == b"#!"

    def c_files(self, *below):
        for path in self.paths:
            if pathlib.Path(path).suffix in C_SUFFIXES and (
                    not below or path.startswith(below)):
                yield path


def code_only(text):
    """C text with comments and the contents of strings blanked out, line by line as it was."""
    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[-1]

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def allowed(path, table):
    return any(path == entry or (entry.endswith("/") and path.startswith(entry))
               for entry in table)


def calls(text, names):
    """(line, name) of each call of a function of that name; not of members, longer names, or
    functions of the file's own."""
    code = code_only(text)
    names = [name for name in names if not re.search(rf"^static [^;={{(]*\b{name}\(", code, re.M)]
    pattern = re.compile(r"(?<![\w.>*&])(" + "|".join(sorted(names)) + r")\s*\(")
    for number, line in enumerate(code.splitlines(), 1):
        for match in pattern.finditer(line):
            # "struct stat st" and "int open(...)" are no calls; a type stands before.
            before = line[:match.start()].rstrip()
            if before.endswith((".", "->")) or re.search(r"\b(struct|void|int)$", before):
                continue
            yield number, match.group(1)


# ---- The checks ----

def file_lengths(tree):
    for path in tree.sources():
        lines = tree.text(path).count("\n")
        if lines > FILE_LINES_MAX and not path.endswith(".md"):
            yield f"{path}:{lines}: more than {FILE_LINES_MAX} lines"


def line_lengths(tree):
    for path in tree.sources():
        if path.endswith(".md"):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if len(line) > COLUMNS_MAX:
                yield f"{path}:{number}: more than {COLUMNS_MAX} columns"


def function_lengths(tree):
    for path in tree.c_files():
        opened, name, previous = 0, "", ""
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if line == "{":
                opened, name = number, previous
            elif line.startswith("}") and opened:
                if number - opened - 1 > FUNCTION_LINES_MAX:
                    yield (f"{path}:{opened}: function of {number - opened - 1} lines, more than "
                           f"{FUNCTION_LINES_MAX}: {name}")
                opened = 0
            if line.strip():
                previous = line


def layer_includes(tree):
    for path in tree.c_files("src/"):
        layer = path.split("/")[1]
        if layer not in LAYERS:
            yield f"{path}:1: '{layer}' is no layer that tests/style/rules.py knows"
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            target, _, name = match.group(1).rpartition("/")
            target = target.split("/")[0]
            if not target:
                yield f"{path}:{number}: include \"{layer}/{name}\", with its folder"
            elif match.group(1) in HEADERS.get(layer, ()):
                continue
            elif target != layer and target in LAYERS and target not in LAYERS[layer]:
                yield f"{path}:{number}: {layer} may not include from {target}"
            elif target != layer and name.endswith("_internal.h"):
                yield f"{path}:{number}: {name} is internal to {target}"


def banned_calls(tree):
    for path in tree.c_files("src/", "bench/", "tests/"):
        for number, name in calls(tree.text(path), BANNED):
            yield f"{path}:{number}: {name}() is banned; use {BANNED[name]}"


def standard_output(tree):
    for path in tree.c_files("src/"):
        if not path.startswith("src/cmd/"):
            for number, name in calls(tree.text(path), STDOUT):
                yield f"{path}:{number}: {name}(): standard output belongs to src/cmd/"


def operating_system(tree):
    for path in tree.c_files("src/"):
        if not allowed(path, MAY_USE_OPERATING_SYSTEM):
            for number, name in calls(tree.text(path), OPERATING_SYSTEM):
                yield f"{path}:{number}: {name}(): only src/io/, src/cmd/ and adapters may (L2)"


def mutable_globals(tree, build=None):
    """From the object files of a build directory, by the section a variable lies in."""
    for obj in sorted(pathlib.Path(build or tree.root).glob("src/*/*.p/*.o")):
        layer = f"src/{obj.parent.parent.name}/"
        if layer in MAY_HAVE_GLOBALS:
            continue
        symbols = subprocess.check_output(["objdump", "-tw", obj], text=True)
        for line in symbols.splitlines():
            match = re.match(r"[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+) (?:\.hidden )?(\S+)$", line)
            if not match:
                continue
            flags, section, _, name = match.groups()
            # A thread's own variable has no type among the flags.
            writable = re.match(r"\.(tdata|tbss)|\*COM\*", section) or (
                "O" in flags and re.match(r"\.(data|bss)(?!\.rel\.ro)", section))
            if writable and "d" not in flags and not name.startswith(("__", ".L")):
                yield f"{layer}{obj.name}: mutable variable '{name}' in {section} (L1)"


def unfinished(tree):
    for path in tree.paths:
        if path.startswith("tests/style/") or pathlib.Path(path).suffix not in SOURCE_SUFFIXES:
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{path}:{number}: unfinished work is no comment"


def licenses(tree):
    for path in tree.sources():
        if not path.endswith(".md") and SPDX not in "\n".join(
                tree.text(path).splitlines()[:2]):
            yield f"{path}:1: the first line is not '{SPDX}'"


def checked_status(tree):
    """A declaration that returns struct status is marked MUST_CHECK."""
    for path in tree.c_files("src/"):
        if not path.endswith(".h"):
            continue
        text = code_only(tree.text(path))
        for match in re.finditer(r"^struct status (\w+)\([^;{]*?;", text, re.M):
            if "MUST_CHECK" not in match.group(0) and match.group(1) not in NEED_NO_CHECK:
                number = text.count("\n", 0, match.start()) + 1
                yield f"{path}:{number}: {match.group(1)}() is not MUST_CHECK"


# They make a status; nothing has failed yet.
NEED_NO_CHECK = {"status_from_errno", "initiator_status_from_nvme", "wire_status_decode"}


def formatting(tree):
    files = list(tree.c_files())
    for first in range(0, len(files), 50):
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files[first:first + 50]],
                              cwd=tree.root, stderr=subprocess.PIPE, text=True, check=False)
        for line in done.stderr.splitlines():
            if "error:" in line:
                yield line


def spelling(tree):
    files = [path for path in tree.sources() if not path.startswith("tests/style/")]
    done = subprocess.run(["codespell", "-L", NOT_MISSPELLED, *files], cwd=tree.root,
                          stdout=subprocess.PIPE, text=True, check=False)
    yield from done.stdout.splitlines()
