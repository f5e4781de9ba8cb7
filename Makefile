# SPDX-License-Identifier: Apache-2.0
#
# Meson and ninja do the building; this file names the things that people want done.  Each
# target first installs the Debian packages that it needs (tools/install-deps).

SEEDS ?= 200
SECONDS ?= 60
NAME ?=

.PHONY: bench build coverage demo test check check-fresh fuzz sim models rolling format clean

build:
	@tools/install-deps build
	@tools/build build

# Three nodes and a volume of three replicas: one node is killed under load, a disk is destroyed,
# and everything is verified.
demo:
	@tools/install-deps build
	@tools/build build
	@tools/demo

test:
	@tools/install-deps test
	@tests/run test

# What is too slow for every day: other compilers and options, static analysis, a longer
# simulation.
check:
	@tools/install-deps check
	@tests/run check

# Which lines and branches of the target and the stores the tests execute.
coverage:
	@tools/install-deps check
	@tests/coverage

# Builds and tests a clone in a new Debian 12.  Needs root.
check-fresh:
	@tools/install-deps fresh
	@tests/fresh

# fuzz runs every fuzzer, or the one that NAME names, for SECONDS each.
fuzz:
	@tools/install-deps test
	@tools/build build-fuzz
	@tests/fuzz/run --seconds $(SECONDS) $(NAME)

# Simulated nodes from SEEDS seeds; a failure prints the command that replays it.
sim:
	@tools/install-deps build
	@tools/build build
	@build/tests/sim/trilith-sim --seeds $(SEEDS)

# Every node restarted in turn for half an hour, under verified load; "make test" does a minute.
rolling:
	@tools/install-deps test
	@tools/build build
	@TRILITH_BUILD=build TRILITH_ROLLING_SECONDS=1800 PYTHONDONTWRITEBYTECODE=1 \
	    /usr/bin/python3 -m pytest -q -s -p no:cacheprovider tests/system/test_rolling.py

# The protocols of models/, further than "make test" looks: a quarter of an hour, up to 4 GiB.
models:
	@tools/install-deps test
	@models/run test large

# The target beside the echo server, as ratios, and every figure that is promised.
bench:
	@tools/install-deps build
	@tools/build build
	@bench/bench.py

format:
	@tools/install-deps check
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build build-asan build-clang build-coverage build-release build-tsan build-fuzz \
	    build-models build-tests demo
