/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store on a disk whose Nth operation fails, once or for ever: S1, S6.  A script of commands
 * runs while operations fail; a model knows for each block what it may hold then,
 *
 *     in this life and after the death of the process:  the last answered value, or that of a
 *                                                       command that failed since;
 *     after a power loss:                               that as of the last good Flush, or
 *                                                       anything submitted since.
 */
#include "store_disk.h"

#include "disk/layout.h"
#include "disk/superblock.h"

#define SHARDS     3
#define BLOCKS     256 /* Of each shard, that the model covers. */
#define VALUES_MAX 12

/* What a block may hold. */
struct values {
    uint8_t fill[VALUES_MAX];
    unsigned count;
    bool torn; /* Or a media error: F21's write home has failed. */
};

static struct values alive[SHARDS][BLOCKS];   /* After the death of the process. */
static struct values durable[SHARDS][BLOCKS]; /* After a power loss. */

static uint32_t atomic_bytes;
static unsigned kinds; /* 1 << enum dev_kind: operations that may fail. */
static struct disk_layout layout;

/* How a run ends, and what its failed writes have left. */
enum { KILLED, KILLED_LEAVING_NOTHING, POWER_LOST, POWER_LOST_KEEPING_SOME, ENDINGS };

static unsigned ending;
static bool checkpointed; /* The script goes on past a checkpoint. */

/* What has failed in this run. */
static struct {
    unsigned data_writes, other_writes, flushes, reads;
} failed;
static bool unflushed; /* A change has completed, and no flush since. */

static bool io_fails(const struct dev_io *io)
{
    if ((kinds >> io->kind & 1) == 0 || !fault_hits(FAULT_IO))
        return false;
    if (io->kind == DEV_KIND_READ)
        failed.reads++;
    else if (io->kind == DEV_KIND_FLUSH)
        failed.flushes++;
    else if (io->offset >= layout.part[LAYOUT_DATA].offset)
        failed.data_writes++;
    else
        failed.other_writes++;
    return true;
}

/* ---- The model ---- */

static void values_add(struct values *v, uint8_t fill)
{
    for (unsigned i = 0; i < v->count; i++)
        if (v->fill[i] == fill)
            return;
    assert(v->count < VALUES_MAX);
    v->fill[v->count++] = fill;
}

static void values_set(struct values *v, uint8_t fill)
{
    *v = (struct values) { .fill = { fill }, .count = 1 };
}

static void model_fill(uint32_t shard, uint64_t first, uint64_t count, uint8_t fill)
{
    for (uint64_t b = first; b < first + count; b++) {
        values_set(&alive[shard][b], fill);
        values_set(&durable[shard][b], fill);
    }
}

/* disk_fill()'s work, made durable by the recovery. */
static void model_begin(void)
{
    for (uint32_t s = 0; s < SHARDS; s++)
        model_fill(s, 0, BLOCKS, 0);
    model_fill(0, 0, 1, 0x44);
    model_fill(0, 1, 1, 0x11);
    model_fill(0, 40, 1, 0x22);
    model_fill(0, 80, 16, 0x33);
    model_fill(1, 128, 128, 0x55);
}

static void model_wrote(uint32_t shard, uint64_t block, uint8_t fill, bool ok, bool fua)
{
    if (ok)
        values_set(&alive[shard][block], fill);
    else
        values_add(&alive[shard][block], fill);
    if (ok && fua)
        durable[shard][block] = alive[shard][block];
    else
        values_add(&durable[shard][block], fill);
    if (!ok && atomic_bytes < STORE_BLOCK_BYTES)
        alive[shard][block].torn = durable[shard][block].torn = true;
}

static void assert_allowed(const struct values *v, uint32_t shard, uint64_t block, uint8_t found)
{
    for (unsigned i = 0; i < v->count; i++)
        if (v->fill[i] == found)
            return;
    fprintf(stderr, "shard %u, block %u holds %#x\n", shard, (unsigned)block, found);
    abort();
}

/* Nothing fails any more: every block can be read and holds one of its values. */
static void assert_model(struct values model[SHARDS][BLOCKS])
{
    static const uint64_t blocks[] = { 0,   1,   2,   40,  64,  80,  84,  85,  86, 95,
                                       100, 101, 102, 103, 104, 128, 130, 131, 255 };
    for (uint32_t s = 0; s < SHARDS; s++) {
        for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
            struct status st;
            rig.shard = s;
            const uint8_t found = rig_read_block(&rig, blocks[i], &st);
            if (model[s][blocks[i]].torn && status_is(st, STATUS_MEDIA_READ))
                continue;
            assert_status(st, STATUS_OK);
            assert_allowed(&model[s][blocks[i]], s, blocks[i], found);
        }
    }
}

/* ---- The script ---- */

struct command {
    enum store_opcode opcode;
    uint32_t shard;
    uint64_t block, count;
    uint8_t fill;
    bool fua;
    uint64_t pass_ns; /* Before it. */
    bool overwrites;
};

static const struct command script[] = {
    { STORE_OP_WRITE, 0, 0, 2, 0x61, false, 0, true },                 /* In a suspect region. */
    { STORE_OP_WRITE, 0, 100, 4, 0x62, false, 0 },                     /* First touches. */
    { STORE_OP_FLUSH, 0, 0, 0, 0, false, 0 },                          /* */
    { STORE_OP_WRITE, 0, 100, 2, 0x63, false, 100 * NS_PER_MS, true }, /* Overwrites. */
    { STORE_OP_WRITE, 1, 130, 1, 0x64, true, 0, true },                /* */
    { STORE_OP_WRITE_ZEROES, 0, 80, 16, 0, false, 0 },                 /* Frees a place ... */
    { STORE_OP_WRITE, 0, 84, 2, 0x65, false, 0 },                   /* ... that is taken again. */
    { STORE_OP_WRITE, 2, 100, 4, 0x66, true, 0 },                   /* A new shard. */
    { STORE_OP_READ, 1, 255, 1, 0x55, false, 0 },                   /* */
    { STORE_OP_FLUSH, 0, 0, 0, 0, false, (uint64_t)61 * NS_PER_S }, /* After a checkpoint. */
    { STORE_OP_WRITE, 0, 1, 1, 0x67, false, 0, true },              /* */
};

static struct status run_command(const struct command *c)
{
    struct rig_io r;

    rig.shard = c->shard;
    rig_submit(&rig, &r, c->opcode, c->block * 4096, c->count * 4096, c->fill);
    r.io.fua = c->fua;
    rig_io_wait(&rig, &r);
    if (c->opcode == STORE_OP_READ && status_ok(r.io.status))
        assert_int_equal(r.data[0], c->fill);
    free(r.data);
    return r.io.status;
}

/* Only what the rules allow as an answer. */
static void judge_answer(const struct command *c, struct status st)
{
    const bool disk_failed = failed.flushes + failed.other_writes > 0;

    if (!fault_happened() || (c->opcode == STORE_OP_READ && failed.reads == 0)) {
        assert_status(st, STATUS_OK);
    } else if (c->opcode == STORE_OP_READ) {
        assert_true(status_ok(st) || status_is(st, STATUS_MEDIA_READ));
    } else if (c->opcode == STORE_OP_FLUSH || c->fua) {
        /* A flush that has failed is never repeated: nothing later speaks for it. */
        assert_true(!status_ok(st) || failed.flushes == 0);
        assert_true(status_ok(st) || disk_failed || failed.data_writes > 0);
    } else if (!status_ok(st) && !disk_failed) {
        /* S6: the host is told that it is space that is missing; for what it has, none can be. */
        const bool is_full = rig.fails_no_space && !c->overwrites;
        assert_status(st, is_full ? STATUS_NO_SPACE : STATUS_MEDIA_WRITE);
    } else if (!status_ok(st) && !status_is(st, STATUS_NO_SPACE)) {
        assert_status(st, STATUS_MEDIA_WRITE);
    }
}

static void run_script(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(script); i++) {
        const struct command *const c = &script[i];
        if (c->pass_ns > NS_PER_S && !checkpointed)
            break;
        if (c->pass_ns > 0)
            rig_pass(&rig, c->pass_ns);
        if (c->pass_ns > NS_PER_S)
            unflushed = false; /* Idle: the store flushes by itself (F26). */
        const unsigned before = failed.data_writes;
        const struct status st = run_command(c);
        judge_answer(c, st);
        /* S6: where a data write has failed, that command has, and no other. */
        if (fault_happened() && failed.flushes + failed.other_writes + failed.reads == 0)
            assert_true(status_ok(st) == (failed.data_writes == before));
        const bool writes = c->opcode == STORE_OP_WRITE || c->opcode == STORE_OP_WRITE_ZEROES;
        for (uint64_t b = c->block; writes && b < c->block + c->count; b++)
            model_wrote(c->shard, b, c->fill, status_ok(st), c->fua);
        unflushed |= writes && status_ok(st) && !c->fua;
        if (c->opcode == STORE_OP_FLUSH && status_ok(st)) {
            unflushed = false;
            memcpy(durable, alive, sizeof durable);
        }
    }
}

/* The disk reports upward what has happened to it. */
static void assert_reported(uint64_t incarnation)
{
    struct store_info info;

    store_get_info(rig.store, &info);
    if (failed.flushes > 0)
        assert_true(info.failed && info.incarnation > incarnation);
    if (failed.flushes + failed.other_writes + failed.reads == 0)
        assert_true(!info.failed && info.incarnation == incarnation);
}

static uint8_t snapshot[RIG_DEVICE_BYTES];
static uint8_t initial[RIG_DEVICE_BYTES];

static void reopen(uint64_t incarnation)
{
    disk_begin(atomic_bytes);
    rig.boot.b[0] = ending < POWER_LOST ? 1 : 2;
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    /* The failure was recorded unless that failed, too: answered writes may be gone (F25). */
    if (failed.flushes > 0 && fault_is_once()) {
        assert_true(rig.session.incarnation > incarnation);
        assert_true(rig.session.unflushed_loss || !unflushed);
    }
    /* Where no loss is told, there is none. */
    assert_model(ending >= POWER_LOST && rig.session.unflushed_loss ? durable : alive);
    assert_status(disk_write(0, 0, 4 * K, 0x71), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    assert_block(0, 0, 0x71);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    /* F21: a write home that has failed leaves media errors, which the check tells. */
    if (atomic_bytes >= STORE_BLOCK_BYTES || failed.data_writes == 0)
        assert_sound();
    rig_fini(&rig);
}

static void script_scenario(void)
{
    memset(&failed, 0, sizeof failed);
    unflushed = false;
    disk_crashed(atomic_bytes);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    const uint64_t incarnation = rig.session.incarnation;
    model_begin();
    rig.initial = initial;
    rig.initial_borrowed = true;
    rig_record(&rig);

    rig.fails = io_fails;
    rig.fails_whole = ending == KILLED_LEAVING_NOTHING;
    rig.fails_no_space = kinds == 1u << DEV_KIND_WRITE;
    fault_begin();
    run_script();
    rig_run(&rig);
    fault_end();
    assert_reported(incarnation);
    /* F17: a region that could not be read is tried again after a second. */
    rig_pass(&rig, 2 * NS_PER_S);
    assert_model(alive);
    rig_run(&rig);

    if (ending < POWER_LOST)
        memcpy(snapshot, content, sizeof content);
    else
        rig_image(&rig, rig.event_count, true, ending == POWER_LOST ? 0 : 7, snapshot);
    rig_abandon(&rig);
    memcpy(content, snapshot, sizeof content);
    reopen(incarnation);
}

#define ANY ((1u << DEV_KIND_READ) | (1u << DEV_KIND_WRITE) | (1u << DEV_KIND_FLUSH))

static void each_ending(unsigned step)
{
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    disk_make(atomic_bytes);
    for (ending = step - 1; ending < ENDINGS; ending += step) {
        checkpointed = false;
        fault_each(FAULT_IO, script_scenario);
        checkpointed = true;
        fault_each(FAULT_IO, script_scenario);
    }
}

/* S1, S6: whatever operation fails, nothing answered is lost, and only what must fail does. */
static void any_operation_fails(void **state)
{
    (void)state;
    atomic_bytes = 4096;
    kinds = ANY;
    each_ending(1);
}

/* The same where only writes fail, for want of space: the file can still be flushed and read. */
static void writes_fail(void **state)
{
    (void)state;
    atomic_bytes = 4096;
    kinds = 1u << DEV_KIND_WRITE;
    each_ending(2);
}

/* A failed flush is not repeated; the incarnation tells that answered writes may be gone. */
static void flushes_fail(void **state)
{
    (void)state;
    atomic_bytes = 4096;
    kinds = 1u << DEV_KIND_FLUSH;
    each_ending(2);
}

/* S7: the same on a disk that tears blocks. */
static void any_operation_fails_on_a_512_byte_disk(void **state)
{
    (void)state;
    atomic_bytes = 512;
    kinds = ANY;
    each_ending(2);
}

/* S3: the same where few checksums are in memory, and table blocks come and go. */
static void writes_fail_with_short_memory(void **state)
{
    (void)state;
    checksum_memory = (uint64_t)2 * 4096;
    kinds = (1u << DEV_KIND_WRITE) | (1u << DEV_KIND_FLUSH);
    for (atomic_bytes = 4096; atomic_bytes >= 512; atomic_bytes /= 8)
        each_ending(2);
    checksum_memory = 0;
}

static void format_scenario(void)
{
    memset(content, 0x5a, sizeof content);
    disk_begin(4096);
    rig.fails = io_fails;
    fault_begin();
    struct status st = rig_format(&rig);
    fault_end();
    assert_true(status_ok(st) == !fault_happened());
    if (!status_ok(st))
        assert_status(rig_format(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_sound();
    rig_fini(&rig);
}

/* Formatting fails with the disk, and can be repeated. */
static void format_fails(void **state)
{
    (void)state;
    kinds = ANY;
    fault_each(FAULT_IO, format_scenario);
}

static void recovery_scenario(void)
{
    disk_crashed(atomic_bytes);
    rig.fails = io_fails;
    fault_begin();
    const struct status st = rig_open(&rig);
    fault_end();
    if (!fault_happened())
        assert_status(st, STATUS_OK);
    if (!status_ok(st)) {
        assert_true(rig.opened.store == NULL && rig.opened.problem[0] != 0);
        assert_status(rig_open(&rig), STATUS_OK);
    }
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_filled();
    disk_end();
}

/* A recovery that an operation of the disk ends leaves everything to the next one. */
static void recovery_fails(void **state)
{
    (void)state;
    kinds = ANY;
    for (atomic_bytes = 4096; atomic_bytes >= 512; atomic_bytes /= 8) {
        disk_make(atomic_bytes);
        fault_each(FAULT_IO, recovery_scenario);
    }
}

static void check_scenario(void)
{
    struct rig_check c = { 0 };

    disk_crashed(4096);
    rig.fails = io_fails;
    fault_begin();
    const struct status st = rig_check(&rig, &c);
    fault_end();
    if (!fault_happened())
        assert_true(status_ok(st) && c.report.problems == 0);
    if (!fault_is_once() && fault_happened())
        assert_true(!status_ok(st) || c.report.problems > 0);
    assert_sound();
    rig_fini(&rig);
}

/* A check of a disk that cannot be read fails or says what is not readable. */
static void check_fails(void **state)
{
    (void)state;
    kinds = ANY;
    disk_make(4096);
    fault_each(FAULT_IO, check_scenario);
}

static void close_scenario(void)
{
    disk_crashed(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_status(disk_write(0, 4 * K, 4 * K, 0x11), STATUS_OK);
    store_session_close(rig.session.session);
    rig.fails = io_fails;
    fault_begin();
    const struct status st = rig_close_store(&rig);
    fault_end();
    assert_true(status_ok(st) == !fault_happened());
    rig.fails = NULL;
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_filled();
    disk_end();
}

/* A store that cannot be closed cleanly says so, and recovers when it is opened. */
static void close_fails(void **state)
{
    (void)state;
    kinds = ANY;
    disk_make(4096);
    fault_each(FAULT_IO, close_scenario);
}

static void first_use_scenario(void)
{
    memcpy(content, snapshot, sizeof content);
    disk_begin(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    rig.fails = io_fails;
    fault_begin();
    const bool opened = status_ok(rig_session(&rig, 1));
    if (opened)
        (void)status_ok(disk_write(0, 4 * K, 4 * K, 0x11)); /* As it was. */
    rig_run(&rig);
    fault_end();
    assert_true(opened || fault_happened());
    memcpy(initial, content, sizeof content);
    rig_abandon(&rig);
    memcpy(content, initial, sizeof content);
    disk_begin(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_filled();
    disk_end();
}

/*
 * Makes snapshot a disk that was closed cleanly, with journal blocks behind its checkpoint that
 * are not to be replayed: a mark that was written while that was made.
 */
static void close_behind_the_start(void)
{
    const struct span block = { snapshot + superblock_offset(0), SUPERBLOCK_BYTES };
    struct superblock sb;

    disk_crashed(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_close_store(&rig), STATUS_OK);
    memcpy(snapshot, content, sizeof content);
    rig_fini(&rig);
    assert_status(superblock_decode(span_const(block), &sb), STATUS_OK);
    assert_true(sb.clean);
    sb.journal_flushed = sb.journal_start + 1;
    superblock_encode(&sb, block);
    memcpy(snapshot + superblock_offset(1), block.at, SUPERBLOCK_BYTES);
}

/*
 * Whatever happens to the first commands of a life, the disk opens again and has lost nothing.
 * Its journal begins where that of the life before has: J3 must not take the old flushed mark,
 * which may be further, for its own.
 */
static void first_use_fails(void **state)
{
    (void)state;
    kinds = ANY;
    disk_make(4096);
    close_behind_the_start();
    fault_each(FAULT_IO, first_use_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_operation_fails),
        cmocka_unit_test(writes_fail),
        cmocka_unit_test(flushes_fail),
        cmocka_unit_test(any_operation_fails_on_a_512_byte_disk),
        cmocka_unit_test(writes_fail_with_short_memory),
        cmocka_unit_test(format_fails),
        cmocka_unit_test(recovery_fails),
        cmocka_unit_test(check_fails),
        cmocka_unit_test(close_fails),
        cmocka_unit_test(first_use_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
