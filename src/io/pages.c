/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pages.h"

#include <assert.h>
#include <sys/mman.h>

struct status pages_map(size_t bytes, bool huge, uint8_t **out_memory)
{
    assert(bytes > 0);
    void *const at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return STATUS(NO_MEMORY);
    if (huge)
        (void)madvise(at, bytes, MADV_HUGEPAGE); /* Advice: small pages do as well. */
    *out_memory = at;
    return STATUS(OK);
}

void pages_unmap(uint8_t *memory, size_t bytes)
{
    if (memory != NULL)
        munmap(memory, bytes);
}

void *pages_calloc(size_t count, size_t bytes)
{
    uint8_t *memory;

    return status_ok(pages_map(count * bytes, false, &memory)) ? memory : NULL;
}

void pages_free(void *array, size_t count, size_t bytes)
{
    pages_unmap(array, count * bytes);
}
