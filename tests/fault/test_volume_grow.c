/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume that grows while memory is short: volume/volume.h.
 *
 * Threading: one thread.   Memory: the heap; what the fixture takes does not fail.
 */
#include "../unit/volume/replicas_case.h"
#include "fault.h"

#define SHARDS_FIRST 2u /* Before, in two of the group's three copysets. */

static struct status outcome; /* Of the last growth. */

static void on_grown(void *ctx, struct status status)
{
    (void)ctx;
    outcome = status;
}

static struct case_ *case_small(void)
{
    struct case_ *const c = case_create(2);
    struct volume_config *const config = &c->f->config;

    config->volume.bytes = SHARDS_FIRST * SHARD_BYTES;
    config->volume.stripe_width = 1;
    config->shard_count = SHARDS_FIRST;
    assert_int_equal(fixture_open(c->f).code, STATUS_OK);
    return c;
}

/* By the first shard of the third copyset. */
static struct status grow(struct case_ *c)
{
    struct volume_config *const config = &c->f->config;

    config->volume.bytes = (SHARDS_FIRST + 1) * SHARD_BYTES;
    config->volume.first_run_shards = SHARDS_FIRST;
    config->shard_count = SHARDS_FIRST + 1;
    outcome = volume_grow(c->f->volume, config, on_grown, NULL);
    loop_run(&c->f->loop);
    return outcome;
}

static struct status write_at(struct case_ *c, uint32_t shard)
{
    fill(c->f, 0, BLOCK, 0x11);
    return run(c->f, NVME_NS_WRITE, false, shard * SHARD_BYTES, BLOCK);
}

/* V1: it stays as it is, and in use; asked again, it grows, and takes writes where it has grown. */
static void growth_may_fail(void)
{
    struct case_ *const c = case_small();

    fault_begin();
    const struct status st = grow(c);
    fault_end();
    if (!status_ok(st)) {
        assert_true(fault_happened());
        assert_int_equal(st.code, STATUS_NO_MEMORY);
        assert_int_equal(write_at(c, 0).code, STATUS_OK);
        assert_int_equal(grow(c).code, STATUS_OK);
    }
    for (uint32_t shard = 0; shard <= SHARDS_FIRST; shard++) {
        assert_int_equal(write_at(c, shard).code, STATUS_OK);
        for (unsigned disk = 0; disk < DISKS; disk++)
            assert_int_equal(byte_on(c, disk, shard), 0x11);
    }
    case_destroy(c);
}

static void growing_survives_each_failed_allocation(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, growth_may_fail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growing_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
