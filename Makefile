# SPDX-License-Identifier: Apache-2.0
.PHONY: build test clean

build:
	@tools/install-deps build
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build

test:
	@tools/install-deps test
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build
	@meson test -C build

clean:
	rm -rf build build-*
