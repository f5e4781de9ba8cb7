/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shared number that only grows.
 *
 * Threading: any.   Memory: the caller's.
 */
#ifndef BASE_ATOMIC_MAX_H
#define BASE_ATOMIC_MAX_H

#include <stdatomic.h>
#include <stdint.h>

/* Raises *value to at least to. */
static inline void atomic_max_u64(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t now = atomic_load(value);

    while (now < to && !atomic_compare_exchange_weak(value, &now, to))
        ;
}

#endif
