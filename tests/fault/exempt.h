/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included before everything else by what is not under test: the tests themselves and the
 * simulated backend.  Their allocations never fail and are not counted.
 */
#ifndef TESTS_FAULT_EXEMPT_H
#define TESTS_FAULT_EXEMPT_H

/* First: the header gives mmap() another name for the linker, which a macro would not change. */
#include <sys/mman.h>

void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

#define malloc        __real_malloc
#define calloc        __real_calloc
#define realloc       __real_realloc
#define aligned_alloc __real_aligned_alloc
#define strdup        __real_strdup
#define mmap          __real_mmap64

#endif
