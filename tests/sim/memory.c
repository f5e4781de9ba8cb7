/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *at, size_t bytes);
void __real_free(void *at);
int __real_posix_memalign(void **out_at, size_t alignment, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *at, size_t bytes);
void __wrap_free(void *at);
int __wrap_posix_memalign(void **out_at, size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);

/* One allocation.  The table is open-addressed with linear probing. */
struct entry {
    uintptr_t at; /* 0: free. */
    uint64_t owner;
    size_t mapped_bytes; /* Of mmap(); 0: the heap. */
};

static struct entry *table;
static size_t table_mask;
static size_t table_count;
static uint64_t current;

static size_t slot_of(uintptr_t at)
{
    return (size_t)((at >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & table_mask;
}

static void table_insert(struct entry e)
{
    size_t slot = slot_of(e.at);
    while (table[slot].at != 0)
        slot = (slot + 1) & table_mask;
    table[slot] = e;
    table_count++;
}

static void table_grow(void)
{
    struct entry *const old = table;
    const size_t old_slots = old == NULL ? 0 : table_mask + 1;
    const size_t slots = old == NULL ? 4096 : old_slots * 2;

    table = __real_calloc(slots, sizeof *table);
    assert(table != NULL);
    table_mask = slots - 1;
    table_count = 0;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].at != 0)
            table_insert(old[i]);
    __real_free(old);
}

static void track(void *at, size_t mapped_bytes)
{
    if (at == NULL || current == 0)
        return;
    if (table == NULL || table_count * 2 > table_mask)
        table_grow();
    table_insert((struct entry) { (uintptr_t)at, current, mapped_bytes });
}

static struct entry *find(const void *at)
{
    if (table == NULL || at == NULL)
        return NULL;
    for (size_t slot = slot_of((uintptr_t)at); table[slot].at != 0; slot = (slot + 1) & table_mask)
        if (table[slot].at == (uintptr_t)at)
            return &table[slot];
    return NULL;
}

/* Takes the entry out and closes the gap in its run of probes. */
static void table_remove(struct entry *e)
{
    size_t hole = (size_t)(e - table);

    table_count--;
    for (size_t slot = (hole + 1) & table_mask; table[slot].at != 0;
         slot = (slot + 1) & table_mask) {
        const size_t home = slot_of(table[slot].at);
        if (((slot - home) & table_mask) >= ((slot - hole) & table_mask)) {
            table[hole] = table[slot];
            hole = slot;
        }
    }
    table[hole].at = 0;
}

static void untrack(const void *at)
{
    struct entry *const e = find(at);
    if (e != NULL)
        table_remove(e);
}

/* ---- The wrappers ---- */

void *__wrap_malloc(size_t bytes)
{
    void *const at = __real_malloc(bytes);
    track(at, 0);
    return at;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *const at = __real_calloc(count, bytes);
    track(at, 0);
    return at;
}

void *__wrap_realloc(void *at, size_t bytes)
{
    struct entry *const e = find(at);
    const uint64_t before = current;

    if (e != NULL) {
        current = e->owner; /* It stays whose it was. */
        table_remove(e);
    } else if (at != NULL) {
        current = 0;
    }
    void *const moved = __real_realloc(at, bytes);
    track(moved, 0);
    current = before;
    return moved;
}

void __wrap_free(void *at)
{
    untrack(at);
    __real_free(at);
}

int __wrap_posix_memalign(void **out_at, size_t alignment, size_t bytes)
{
    const int err = __real_posix_memalign(out_at, alignment, bytes);
    if (err == 0)
        track(*out_at, 0);
    return err;
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    void *const at = __real_aligned_alloc(alignment, bytes);
    track(at, 0);
    return at;
}

char *__wrap_strdup(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *const copy = __wrap_malloc(bytes);
    return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    void *const mapped = __real_mmap64(at, bytes, protection, flags, fd, offset);
    if (mapped != MAP_FAILED)
        track(mapped, bytes);
    return mapped;
}

int __wrap_munmap(void *at, size_t bytes)
{
    untrack(at);
    return __real_munmap(at, bytes);
}

/* ---- Processes ---- */

static void hook_enter(void *ctx, uint64_t owner)
{
    (void)ctx;
    current = owner;
}

static void release(struct entry e)
{
    void *const at = (void *)e.at;
    if (e.mapped_bytes == 0) {
        __real_free(at);
        return;
    }
    ASAN_UNPOISON_MEMORY_REGION(at, e.mapped_bytes);
    __real_munmap(at, e.mapped_bytes);
}

static void hook_drop(void *ctx, uint64_t owner)
{
    (void)ctx;
    assert(owner != 0);
    for (size_t slot = 0; table != NULL && slot <= table_mask;) {
        if (table[slot].at == 0 || table[slot].owner != owner) {
            slot++;
            continue;
        }
        const struct entry e = table[slot];
        table_remove(&table[slot]); /* May move another one into this slot. */
        release(e);
    }
}

const struct sim_memory memory_hooks = { .enter = hook_enter, .drop = hook_drop };

uint64_t memory_enter(uint64_t owner)
{
    const uint64_t before = current;
    current = owner;
    return before;
}

uint64_t memory_held(uint64_t owner)
{
    uint64_t held = 0;
    for (size_t slot = 0; table != NULL && slot <= table_mask; slot++)
        held += table[slot].at != 0 && table[slot].owner == owner;
    return held;
}
