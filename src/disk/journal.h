/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal ring, written.  docs/disk-format.md, section 4.1.
 *
 *     tail            settled      flushed     written        next
 *      |                 |            |           |             |
 *   ---+-----------------+------------+-----------+--- in flight+-- staging: records gather
 *      | replayed after a crash ...                             |
 *
 * Records of many commands share a block.  Once per turn the staged blocks are submitted; a block
 * that was submitted is never written again.  The journal also owns the device's flushes, because
 * what a flush makes durable is what moves the marks:
 *
 *   written   all blocks up to it have completed            (survives the process: F9)
 *   flushed   ... and a flush was submitted afterwards      (survives power loss: J3, F10)
 *   settled   ... and so is the data of their WRITE records (J1, F13)
 *   durably settled: the settled mark that a durable block carries (F14)
 *
 * Threading: belongs to the device's reactor.
 * Memory:    one staging area and fixed windows, allocated at create.
 */
#ifndef DISK_JOURNAL_H
#define DISK_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "disk/dev.h"
#include "disk/layout.h"
#include "disk/metablock.h"

#define JOURNAL_UNFLUSHED_MAX 1024 /* F11. */
#define JOURNAL_UNSETTLED_MAX 2048 /* So far the settled mark may lag: one slow data write. */
#define JOURNAL_RESERVE       64   /* Blocks of the ring for what must not wait (S6). */

struct journal;
struct journal_waiter;

/* Called once, from the reactor's loop.  The waiter may be freed or queued again in it. */
typedef void journal_fn(struct journal_waiter *waiter, struct status status);

struct journal_waiter {
    struct list_node link; /* Private. */
    uint64_t sequence;
    journal_fn *fn;
};

struct journal_config {
    struct dev *dev;
    struct disk_extent ring;
    uint64_t tag;
    uint64_t life;
    uint64_t start; /* Sequence of the first block; everything before is durable. */
    /* Something moved: room, a mark, or a failure.  From the loop, once per turn at most. */
    void (*progress)(void *ctx);
    void *ctx;
};

struct journal_marks {
    uint64_t tail;
    uint64_t next; /* The block that is being filled. */
    uint64_t last; /* The last block with something in it. */
    uint64_t written;
    uint64_t flushed;
    uint64_t settled;
    uint64_t durably_settled;
};

struct status journal_create(const struct journal_config *config,
                             struct journal **out_journal) MUST_CHECK;

/* Nothing is in flight and nobody waits.  NULL is allowed. */
void journal_destroy(struct journal *j);

struct journal_marks journal_get_marks(const struct journal *j);

/* The first failure of a write or flush; from then on nothing is written (never retried). */
struct status journal_status(const struct journal *j) MUST_CHECK;

/* Blocks of the ring in use, and all of them. */
uint64_t journal_used_blocks(const struct journal *j);
uint64_t journal_ring_blocks(const struct journal *j);

/*
 * Whether records of so many bytes together, none over METABLOCK_PAYLOAD_MAX, can be appended
 * now.  urgent may use the reserve.
 */
bool journal_has_room(const struct journal *j, size_t bytes, bool urgent);

/* While it is held there is no room but for urgent records: somebody waits for more than there is,
 * and others would take what comes. */
void journal_hold(struct journal *j, bool held);

/*
 * Appends a record of bytes bytes and returns its memory, to be filled before the caller returns
 * to the loop.  There is room.  *out_sequence is its block's.
 */
struct span journal_append(struct journal *j, size_t bytes, uint64_t *out_sequence);

/*
 * Whether records of bytes bytes together can be appended now, data_records of which are followed
 * by data_blocks data blocks together.
 */
bool journal_has_room_for_data(const struct journal *j, size_t bytes, unsigned data_records,
                               unsigned data_blocks);

/* Whether there may be no room because the ring is full: a checkpoint is due. */
bool journal_ring_is_short(const struct journal *j);

/*
 * Appends a record that data blocks follow (1 to METABLOCK_DATA_BLOCKS_MAX); they are copied
 * from data.  *out_sequence is the record's block, *out_last the last data block: what to wait
 * for.
 */
struct span journal_append_with_data(struct journal *j, size_t bytes, struct const_span data,
                                     uint64_t *out_sequence, uint64_t *out_last);

/* The data of a record in block sequence is under way, or has arrived: for the settled mark. */
void journal_data_begin(struct journal *j, uint64_t sequence);
void journal_data_end(struct journal *j, uint64_t sequence);

/* The block that the settled mark waits for, and how many data writes it still has under way; 0:
 * none that has completed. */
uint64_t journal_first_pending(const struct journal *j, uint32_t *out_count);

/* Calls back when all blocks up to waiter->sequence have completed. */
void journal_wait_written(struct journal *j, struct journal_waiter *waiter);

/*
 * Calls back when all blocks up to waiter->sequence are durable, and a flush that was submitted
 * after this call has succeeded.  Many waiters share a flush.
 */
void journal_wait_flushed(struct journal *j, struct journal_waiter *waiter);

/* Sees to it that the durably settled mark reaches sequence; progress() tells. */
void journal_settle(struct journal *j, uint64_t sequence);

/* The ring before sequence is not needed any more: a checkpoint has replaced it. */
void journal_advance_tail(struct journal *j, uint64_t sequence);

/* Whether writes or flushes are in flight or wanted. */
bool journal_is_busy(const struct journal *j);

/* Fails the journal from outside: another write of metadata has failed. */
void journal_fail(struct journal *j, struct status why);

#endif
