/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large memory straight from the kernel: zeros, page-aligned, and taken when it is touched.
 *
 * Threading: any.   Memory: the caller unmaps it.
 */
#ifndef IO_PAGES_H
#define IO_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/*
 * Maps bytes (more than 0).  huge: in pages of 2 MiB where the kernel gives them, for what is
 * touched all over and at random; each touch may then take so much.  NO_MEMORY if it cannot.
 */
struct status pages_map(size_t bytes, bool huge, uint8_t **out_memory) MUST_CHECK;

/* Gives all of it back.  NULL is allowed. */
void pages_unmap(uint8_t *memory, size_t bytes);

/*
 * As calloc() and free(), for arrays of which most is seldom used: calloc() clears, and so takes,
 * what was freed before, large arrays too.  NULL if it cannot; and may be given back.
 */
void *pages_calloc(size_t count, size_t bytes) MUST_CHECK;
void pages_free(void *array, size_t count, size_t bytes);

#endif
