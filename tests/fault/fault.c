/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS_MAX ((size_t)1 << 16) /* Alive at one time; a table never fails. */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *at, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
char *__real_strdup(const char *text);
ssize_t __real_pread64(int fd, void *data, size_t bytes, off_t offset);
ssize_t __real_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __real_posix_fallocate64(int fd, off_t offset, off_t bytes);
void __real_free(void *at);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *at, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
char *__wrap_strdup(const char *text);
ssize_t __wrap_pread64(int fd, void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __wrap_posix_fallocate64(int fd, off_t offset, off_t bytes);
void __wrap_free(void *at);

/* The run in progress. */
static struct {
    enum fault_kind kind;
    uint64_t nth;
    bool for_ever;
    bool on;
    uint64_t seen;
    bool happened;
    void *caller; /* Of the first allocation that failed. */
} run;

static uint64_t allocations;

/* ---- What is alive: an open-addressed table ---- */

static struct {
    void *at;
    void *caller;
} alive[BLOCKS_MAX];
static size_t alive_count;

static size_t slot_of(const void *at)
{
    return (size_t)((uintptr_t)at / 16 * UINT64_C(0x9e3779b97f4a7c15) >> 32) % BLOCKS_MAX;
}

static void alive_add(void *at, void *caller)
{
    size_t slot = slot_of(at);

    assert(alive_count < BLOCKS_MAX / 2);
    while (alive[slot].at != NULL)
        slot = (slot + 1) % BLOCKS_MAX;
    alive[slot].at = at;
    alive[slot].caller = caller;
    alive_count++;
}

static void alive_remove(const void *at)
{
    size_t slot = slot_of(at);

    while (alive[slot].at != NULL && alive[slot].at != at)
        slot = (slot + 1) % BLOCKS_MAX;
    if (alive[slot].at == NULL)
        return; /* Not the layers'. */
    alive[slot].at = NULL;
    alive_count--;
    /* What had been pushed on finds its place again. */
    for (size_t i = (slot + 1) % BLOCKS_MAX; alive[i].at != NULL; i = (i + 1) % BLOCKS_MAX) {
        void *const moved = alive[i].at;
        void *const caller = alive[i].caller;
        alive[i].at = NULL;
        alive_count--;
        alive_add(moved, caller);
    }
}

static void alive_print(void)
{
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        if (alive[i].at != NULL)
            fprintf(stderr, "  still there: allocated before %p\n", alive[i].caller);
}

/* ---- What the layers call ---- */

bool fault_hits(enum fault_kind kind)
{
    if (!run.on || run.kind != kind)
        return false;
    run.seen++;
    const bool hit = run.for_ever ? run.seen >= run.nth : run.seen == run.nth;
    run.happened = run.happened || hit;
    return hit;
}

static bool allocation_fails(void *caller)
{
    allocations++;
    if (!fault_hits(FAULT_ALLOCATION))
        return false;
    run.caller = run.caller == NULL ? caller : run.caller;
    errno = ENOMEM;
    return true;
}

static void *allocated(void *at, void *caller)
{
    if (at != NULL)
        alive_add(at, caller);
    return at;
}

void *__wrap_malloc(size_t bytes)
{
    void *const caller = __builtin_return_address(0);
    return allocation_fails(caller) ? NULL : allocated(__real_malloc(bytes), caller);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *const caller = __builtin_return_address(0);
    return allocation_fails(caller) ? NULL : allocated(__real_calloc(count, bytes), caller);
}

void *__wrap_realloc(void *at, size_t bytes)
{
    void *const caller = __builtin_return_address(0);

    if (allocation_fails(caller))
        return NULL;
    if (at != NULL)
        alive_remove(at);
    return allocated(__real_realloc(at, bytes), caller);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    void *const caller = __builtin_return_address(0);
    return allocation_fails(caller) ? NULL
                                    : allocated(__real_aligned_alloc(alignment, bytes), caller);
}

char *__wrap_strdup(const char *text)
{
    void *const caller = __builtin_return_address(0);
    return allocation_fails(caller) ? NULL : allocated(__real_strdup(text), caller);
}

void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (allocation_fails(__builtin_return_address(0)))
        return MAP_FAILED;
    return __real_mmap64(at, bytes, protection, flags, fd, offset);
}

void __wrap_free(void *at)
{
    if (at != NULL)
        alive_remove(at);
    __real_free(at);
}

/* Fails, or transfers half of it: what a file system that is full may do. */
ssize_t __wrap_pread64(int fd, void *data, size_t bytes, off_t offset)
{
    if (!fault_hits(FAULT_IO))
        return __real_pread64(fd, data, bytes, offset);
    if (run.for_ever)
        return __real_pread64(fd, data, bytes / 2, offset);
    errno = EIO;
    return -1;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    if (!fault_hits(FAULT_IO))
        return __real_pwrite64(fd, data, bytes, offset);
    if (run.for_ever)
        return __real_pwrite64(fd, data, bytes / 2, offset);
    errno = ENOSPC;
    return -1;
}

int __wrap_posix_fallocate64(int fd, off_t offset, off_t bytes)
{
    return fault_hits(FAULT_IO) ? ENOSPC : __real_posix_fallocate64(fd, offset, bytes);
}

/* ---- The runs ---- */

/* An assertion has failed: says in which run.  addr2line tells where the callers are. */
static void on_abort(int signal)
{
    fprintf(stderr, "%s %llu fails, %s; asked for before %p, with fault_each() at %p\n",
            run.kind == FAULT_IO ? "I/O" : "allocation", (unsigned long long)run.nth,
            run.for_ever ? "and all after it" : "once", run.caller, (void *)(uintptr_t)fault_each);
    (void)signal;
}

static void run_once(enum fault_kind kind, uint64_t nth, bool for_ever, void (*scenario)(void))
{
    const size_t before = alive_count;

    memset(&run, 0, sizeof run);
    run.kind = kind;
    run.nth = nth;
    run.for_ever = for_ever;
    scenario();
    assert(!run.on);
    if (alive_count != before) {
        alive_print();
        abort();
    }
}

void fault_each(enum fault_kind kind, void (*scenario)(void))
{
    /* A failed check ends the program: the layers are in the middle of something. */
    signal(SIGABRT, on_abort);
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        uint64_t nth = 0;
        do
            run_once(kind, ++nth, for_ever != 0, scenario);
        while (run.happened);
        assert(nth > 1);
    }
    memset(&run, 0, sizeof run);
}

void fault_begin(void)
{
    assert(!run.on);
    run.on = true;
}

void fault_end(void)
{
    assert(run.on);
    run.on = false;
}

bool fault_happened(void)
{
    return run.happened;
}

bool fault_is_once(void)
{
    return !run.for_ever;
}

uint64_t fault_allocations(void)
{
    return allocations;
}
