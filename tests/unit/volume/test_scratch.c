/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that has run out: nobody waits for another volume, nor a copy for commands. */
#include "resync_case.h"
#include "volume/mend.h"
#include "volume/rounds.h"

#define SECTOR 512u
#define MANY   400u /* Parts of blocks: more than a slice has memory for by itself. */

/* Other volumes of these reactors, which keep all that there is. */
struct others {
    struct fixture *f;
    struct span taken[2][VOLUME_SCRATCH_BYTES / BUF_BYTES_MAX];
};

static void others_take(struct others *o, struct fixture *f)
{
    o->f = f;
    for (unsigned r = 0; r < 2; r++) {
        for (unsigned i = 0; i < ARRAY_COUNT(o->taken[r]); i++) {
            o->taken[r][i] = buf_get(f->scratch[r], BUF_BYTES_MAX);
            assert_non_null(o->taken[r][i].at);
        }
        assert_null(buf_get(f->scratch[r], BLOCK).at);
    }
}

/* The volume is closed before they give anything back. */
static void others_end(struct others *o, struct case_ *c)
{
    fixture_close(o->f);
    for (unsigned r = 0; r < 2; r++)
        for (unsigned i = 0; i < ARRAY_COUNT(o->taken[r]); i++)
            buf_put(o->f->scratch[r], o->taken[r][i]);
    case_destroy(c);
}

static struct case_ *case_of_sectors(unsigned min_in_sync)
{
    struct case_ *c = case_create(min_in_sync);

    c->f->config.volume.lba_bytes = SECTOR;
    return c;
}

static void assert_runs(struct fixture *f, enum nvme_ns_opcode opcode, uint64_t at, uint64_t bytes)
{
    assert_int_equal(run(f, opcode, false, at, bytes).code, STATUS_OK);
}

/* ---- Memory that others have ---- */

static void commands_do_not_wait_for_other_volumes(void **state)
{
    (void)state;
    struct others others;
    struct request copy = { 0 };
    struct case_ *c = case_of_sectors(2);
    struct fixture *f = c->f;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    others_take(&others, f);
    for (uint64_t at = SECTOR; at < SHARDS * SHARD_BYTES - M; at += 256 * K) {
        fill(f, 0, 512 * K, 0x5a);
        assert_runs(f, NVME_NS_WRITE, at, 256 * K);
        assert_runs(f, NVME_NS_COMPARE, at, 256 * K);
        assert_runs(f, NVME_NS_READ, at, SECTOR);
        assert_runs(f, NVME_NS_VERIFY, at, M);
        assert_runs(f, NVME_NS_WRITE_ZEROES, at, SECTOR);
    }
    submit(f, &copy, 0, 1, NVME_NS_COPY, 3 * M, 256 * K);
    loop_run(&f->loop);
    assert_false(copy.busy);
    assert_int_equal(copy.req.status.code, STATUS_OK);
    others_end(&others, c);
}

/* A mend, and settling. */
static void copies_do_not_wait_for_other_volumes(void **state)
{
    (void)state;
    struct others others;
    struct case_ *c = case_of_sectors(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        for (uint32_t shard = 0; shard < SHARDS; shard++) {
            put(c, i, shard, 0, (uint8_t)(i + 1));
            f->stores[i].listed[shard][0] = ALL_SLOTS;
        }
    others_take(&others, f);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (uint32_t shard = 0; shard < SHARDS; shard++)
        for (unsigned i = 1; i < DISKS; i++)
            assert_int_equal(got(c, i, shard, 0), got(c, 0, shard, 0));
    make_bad(c, 1, 0);
    assert_runs(f, NVME_NS_READ, 0, 8 * M); /* Some of it from there. */
    assert_int_equal(f->stores[1].bad_to, 0);
    others_end(&others, c);
}

static void a_resync_does_not_wait_for_other_volumes(void **state)
{
    (void)state;
    struct others others;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    for (uint64_t at = 0; at < SHARDS * SHARD_BYTES; at += M)
        write_ok(f, at, 0x11);
    others_take(&others, f);
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    others_end(&others, c);
}

/* ---- Its own ---- */

static void submit_parts(struct fixture *f, struct request *parts)
{
    for (unsigned i = 0; i < MANY; i++)
        submit(f, &parts[i], 0, 0, NVME_NS_WRITE, i * 2 * BLOCK, SECTOR);
    loop_run(&f->loop);
}

static void assert_ended(const struct request *parts, enum status_code code)
{
    for (unsigned i = 0; i < MANY; i++) {
        assert_false(parts[i].busy);
        assert_int_equal(parts[i].req.status.code, code);
    }
}

/* More than there is memory for, and a fence: all of them end, and the volume closes. */
static void a_fence_ends_who_waits(void **state)
{
    (void)state;
    struct others others;
    struct request *const parts = calloc(MANY, sizeof *parts);
    struct case_ *c = case_of_sectors(3);
    struct fixture *f = c->f;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    others_take(&others, f);
    f->stores[2].write_status = STATUS(MEDIA_WRITE); /* It is needed. */
    submit_parts(f, parts);
    assert_true(parts[0].busy && parts[MANY - 1].busy);
    volume_fence(f->volume);
    loop_run(&f->loop);
    assert_ended(parts, STATUS_FENCED);
    others_end(&others, c);
    free(parts);
}

/* Writes that a full disk has refused have all memory of commands, and wait to be taken back. */
static void taking_back_does_not_wait_for_commands(void **state)
{
    (void)state;
    struct others others;
    struct request *const parts = calloc(MANY, sizeof *parts);
    struct case_ *c = case_of_sectors(2);
    struct fixture *f = c->f;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    others_take(&others, f);
    f->stores[1].write_status = STATUS(NO_SPACE);
    submit_parts(f, parts);
    assert_ended(parts, STATUS_NO_SPACE);
    assert_true(is_member(c, 1));
    others_end(&others, c);
    free(parts);
}

/* ---- Room in the open regions ---- */

static bool mended;

static void on_mended(struct volume_mend *mend)
{
    assert_int_equal(mend->status.code, STATUS_OK);
    mended = true;
}

/* That may last, where a member is away that is needed. */
static void who_waits_for_room_has_no_memory(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    struct fixture *f = c->f;
    struct volume_mend mend = { .disk = disk_uuid(1), .bytes = M, .done = on_mended };
    put(c, 1, 0, 0, 0xee);
    mended = false;
    f->stores[1].write_status = STATUS(LIST_FULL);
    f->stores[2].hold = true; /* The round's Flush. */
    volume_mend(f->volume, &mend);
    loop_run(&f->loop);
    assert_int_equal(f->stores[2].in_flight_count, 1);
    assert_false(mended);
    assert_int_equal(buf_pool_used(f->scratch[0]) + buf_pool_used(f->scratch[1]), 0);
    f->stores[1].write_status = STATUS(OK);
    hold_all(f, false);
    assert_true(mended);
    assert_int_equal(got(c, 1, 0, 0), 0x40);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_do_not_wait_for_other_volumes),
        cmocka_unit_test(copies_do_not_wait_for_other_volumes),
        cmocka_unit_test(a_resync_does_not_wait_for_other_volumes),
        cmocka_unit_test(a_fence_ends_who_waits),
        cmocka_unit_test(taking_back_does_not_wait_for_commands),
        cmocka_unit_test(who_waits_for_room_has_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
