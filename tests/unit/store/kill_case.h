/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What test cases begin with whose process is killed, and whose disk is opened by another one.
 *
 *   start_on --> ... --> rig_kill --> rig_serve(&after) --> ... --> rig_abandon, of both
 *
 * Threading: one thread.   Memory: the rigs'.
 */
#ifndef TESTS_UNIT_STORE_KILL_CASE_H
#define TESTS_UNIT_STORE_KILL_CASE_H

#include "disk/layout.h"
#include "rig_case.h"

#define K     ((uint64_t)1024)
#define GRAIN (128 * K)

static struct rig rig, after;
static struct disk_layout layout;
static uint8_t image[RIG_DEVICE_BYTES];

static inline void start_on(uint32_t atomic_bytes)
{
    rig_init(&rig, NULL, 1);
    rig.dev.info.atomic_bytes = atomic_bytes;
    assert_true(status_ok(disk_layout_make(RIG_DEVICE_BYTES, &layout)));
    rig_begin(&rig);
    rig_record(&rig);
}

/* The process is killed, and the disk as it is now is opened by another one. */
static inline void rig_kill(uint64_t seed)
{
    memcpy(image, rig.content, sizeof image);
    rig_init(&after, image, seed);
    after.dev.info.atomic_bytes = rig.dev.info.atomic_bytes;
    after.boot = rig.boot;
}

static inline void must_write(uint64_t block, uint64_t blocks, uint8_t fill)
{
    assert_status(rig_do(&rig, STORE_OP_WRITE, block * 4 * K, blocks * 4 * K, fill), STATUS_OK);
}

static inline uint8_t must_read(struct rig *of, uint64_t block)
{
    struct status st;
    const uint8_t fill = rig_read_block(of, block, &st);

    assert_status(st, STATUS_OK);
    return fill;
}

static inline const struct rig_write *last_write_in(enum layout_part part)
{
    const struct disk_extent *const e = &layout.part[part];

    for (size_t i = rig.write_count; i > 0; i--) {
        const struct rig_write *const w = &rig.writes[i - 1];
        if (w->offset >= e->offset && w->offset < e->offset + e->bytes)
            return w;
    }
    return NULL;
}

#endif
