/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the store share: the disk of a process that was killed, with a checkpoint, a
 * journal, an open region, zeroed blocks and two shards, and what must be read from it.
 */
#ifndef TESTS_FAULT_STORE_DISK_H
#define TESTS_FAULT_STORE_DISK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../unit/store/rig.h"
#include "fault.h"

#define K ((uint64_t)1024)

static struct rig rig;
static uint8_t crashed[RIG_CONTENT_BYTES];
static uint8_t content[RIG_CONTENT_BYTES];
static uint64_t checksum_memory; /* For checksums; 0: for all. */

static inline void assert_status(struct status st, enum status_code code)
{
    assert_string_equal(status_name(st), status_name((struct status) { code }));
}

static inline struct status disk_write(uint32_t shard, uint64_t offset, uint64_t bytes,
                                       uint8_t fill)
{
    rig.shard = shard;
    return rig_do(&rig, STORE_OP_WRITE, offset, bytes, fill);
}

static inline void assert_block(uint32_t shard, uint64_t block, uint8_t fill)
{
    struct status st;

    rig.shard = shard;
    const uint8_t found = rig_read_block(&rig, block, &st);
    assert_status(st, STATUS_OK);
    assert_int_equal(found, fill);
}

/* A rig over the disk that is in content. */
static inline void disk_begin(uint32_t atomic_bytes)
{
    rig_init(&rig, content, 1);
    rig.dev.info.atomic_bytes = atomic_bytes;
    rig.checksum_bytes = checksum_memory;
}

static inline void disk_fill(void)
{
    assert_status(disk_write(0, 0, 8 * K, 0x11), STATUS_OK);
    assert_status(disk_write(0, 160 * K, 4 * K, 0x22), STATUS_OK);
    assert_status(disk_write(0, 256 * K, 128 * K, 0x33), STATUS_OK);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_status(disk_write(0, 0, 4 * K, 0x44), STATUS_OK); /* An overwrite: a region opens. */
    assert_status(disk_write(1, 512 * K, 512 * K, 0x55), STATUS_OK);
    rig.shard = 0;
    assert_status(rig_do(&rig, STORE_OP_WRITE_ZEROES, 256 * K, 64 * K, 0), STATUS_OK);
}

/* Makes the crashed disk. */
static inline void disk_make(uint32_t atomic_bytes)
{
    memset(content, 0, sizeof content);
    disk_begin(atomic_bytes);
    assert_status(rig_format(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    disk_fill();
    memcpy(crashed, content, sizeof crashed);
    rig_abandon(&rig);
}

/* A rig over the crashed disk. */
static inline void disk_crashed(uint32_t atomic_bytes)
{
    memcpy(content, crashed, sizeof content);
    disk_begin(atomic_bytes);
}

/* What disk_fill() has written is there. */
static inline void assert_filled(void)
{
    assert_block(0, 0, 0x44);
    assert_block(0, 1, 0x11);
    assert_block(0, 2, 0);
    assert_block(0, 40, 0x22);
    assert_block(0, 64, 0);
    assert_block(0, 79, 0);
    assert_block(0, 80, 0x33);
    assert_block(0, 95, 0x33);
    assert_block(1, 128, 0x55);
    assert_block(1, 255, 0x55);
}

/* The disk at rest has no problem. */
static inline void assert_sound(void)
{
    struct rig_check c;

    assert_status(rig_check(&rig, &c), STATUS_OK);
    if (c.report.problems > 0)
        fprintf(stderr, "%s\n", c.first);
    assert_int_equal(c.report.problems, 0);
}

/* Closes what is open, checks the disk, and ends the rig. */
static inline void disk_end(void)
{
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_sound();
    rig_fini(&rig);
}

#endif
