/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the wire share: the head of data, and items behind it.  Only they include this.
 *
 * Threading: pure.   Memory: caller's.
 */
#ifndef STORE_WIRE_INTERNAL_H
#define STORE_WIRE_INTERNAL_H

#include "store/wire.h"
#include "store/wire_format.h"

#define WIRE_SLOTS_MASK ((1u << STORE_REPLICAS_MAX) - 1)

/* The shape of data: a head of so many bytes, then items. */
struct wire_layout {
    enum wire_opcode opcode;
    size_t head_bytes;
    size_t item_bytes;
};

struct wire_head_format wire_head_make(enum wire_opcode opcode, uint32_t items);

/* Clears what the items do not fill, and puts the CRC over all of it. */
void wire_finish(struct span out, size_t used);

/*
 * Checks CRC, head, and that there are as many items as it says, with zeros behind them.
 * BAD_DIGEST, BAD_VERSION, MALFORMED.
 */
struct status wire_open_data(struct const_span data, const struct wire_layout *l,
                             struct wire_items *out_items) MUST_CHECK;

/* Data to the store are as long as their items: there is no room for more. */
bool wire_is_full(struct const_span data, const struct wire_layout *l, struct wire_items items);

/* Whether all of the bytes are 0. */
bool wire_zeros(const uint8_t *at, size_t bytes);

#endif
