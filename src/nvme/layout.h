/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compile-time checks that a wire struct lies where its specification puts it.
 *
 * Threading: none.   Memory: none.
 */
#ifndef NVME_LAYOUT_H
#define NVME_LAYOUT_H

#include <assert.h>
#include <stddef.h>

#define LAYOUT_SIZE(type, bytes) \
    static_assert(sizeof(struct type) == (bytes), "size of struct " #type)
#define LAYOUT_AT(type, field, offset) \
    static_assert(offsetof(struct type, field) == (offset), "offset of " #type "." #field)

#endif
