/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store may say, and must say, of a loss: for one volume on one disk (S1).
 *
 *   must   the power failed within LOSS_BUSY_NS after a write had completed, and no Flush came
 *          after it
 *   may    the power failed within LOSS_QUIET_NS after the last command, or the disk failed in the
 *          life of one
 *
 * A loss is told in every life until the store was told that the host knows; then, until a life
 * begins without it, either is right: the record of that may be lost with the power.
 *
 * It knows nothing of the code under test.
 *
 * Threading: one thread.   Memory: embedded.
 */
#ifndef TESTS_SIM_LOSS_H
#define TESTS_SIM_LOSS_H

#include <stdbool.h>
#include <stdint.h>

/* A volume stays busy so long after its last use, and is quiet so long after it. */
#define LOSS_BUSY_NS  (30 * UINT64_C(1000000000))
#define LOSS_QUIET_NS (70 * UINT64_C(1000000000))

struct loss {
    bool may;
    bool must;

    bool unrecovered; /* Was used in a life that no recovery has followed. */

    /* Since the store was opened. */
    bool used;
    uint32_t under_way;
    uint64_t last_ns;      /* When a command began or ended. */
    uint64_t completed;    /* Writes. */
    uint64_t completed_ns; /* When the last of them did. */
    uint64_t flushed;      /* Of these. */
};

/* A Write, Write Zeroes or Deallocate without FUA; is_lasting: a Write that has completed. */
void loss_command_begins(struct loss *l, uint64_t now_ns);
void loss_command_ends(struct loss *l, uint64_t now_ns, bool is_lasting);

/* A Flush covers what loss_flush_begins() has returned at its start. */
uint64_t loss_flush_begins(const struct loss *l);
void loss_flush_ends(struct loss *l, uint64_t covered);

/* The store was opened: all that had completed is durable. */
void loss_recovered(struct loss *l);

/* The store's life ends.  power: with the machine; fails: the disk may have failed in it. */
void loss_life_ends(struct loss *l, uint64_t now_ns, bool power, bool fails);

/* What is wrong with the first session of a life being told or not; NULL: nothing. */
const char *loss_check(struct loss *l, bool told);

#endif
