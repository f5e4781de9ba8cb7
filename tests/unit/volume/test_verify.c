/* SPDX-License-Identifier: Apache-2.0 */
/* Verification: every block of every replica, and a digest of each; R4, R8, I7. */
#include "replicas_case.h"
#include "volume/verify.h"
#include "volume/volume_internal.h"

struct outcome {
    bool ended;
    struct status status;
    struct volume_verify result;
};

static void on_verified(void *ctx, struct status status, const struct volume_verify *result)
{
    struct outcome *o = ctx;
    assert_false(o->ended);
    *o = (struct outcome) { true, status, *result };
}

static void start(struct fixture *f, struct outcome *o, uint64_t bytes_per_s)
{
    const struct volume_verify_config config = { bytes_per_s, on_verified, o };
    *o = (struct outcome) { false };
    assert_int_equal(volume_verify_start(f->volume, &config).code, STATUS_OK);
    assert_false(o->ended);
}

static void verify(struct fixture *f, struct outcome *o)
{
    start(f, o, 0);
    loop_run(&f->loop);
    assert_true(o->ended);
    assert_null(volume_verify_progress(f->volume));
}

/* The digest of what the volume should hold. */
static void expect_digest(const struct fixture *f, const uint8_t digest[SHA256_BYTES])
{
    uint8_t expected[SHA256_BYTES];
    struct sha256 *hash;

    assert_true(status_ok(sha256_create(&hash)));
    sha256_update(hash, (struct const_span) { f->expected, f->config.volume.bytes });
    sha256_finish(hash, expected);
    sha256_destroy(hash);
    assert_memory_equal(digest, expected, SHA256_BYTES);
}

/* A mebibyte of numbers, from any address on. */
static void write_numbers(struct fixture *f, uint64_t at, uint8_t seed)
{
    for (uint64_t done = 0; done < M; done += BUF_BYTES_MAX) {
        for (uint64_t i = 0; i < BUF_BYTES_MAX; i++)
            f->memory[i] = (uint8_t)(seed + (at + done + i) / 512);
        memcpy(f->expected + at + done, f->memory, BUF_BYTES_MAX);
        assert_int_equal(run(f, NVME_NS_WRITE, false, at + done, BUF_BYTES_MAX).code, STATUS_OK);
    }
}

static struct case_ *case_written(void)
{
    struct case_ *c = case_opened(2);
    write_numbers(c->f, 0, 3);
    write_numbers(c->f, 7 * M + 64 * K, 100);
    return c;
}

/* The digest is that of the volume in address order, with zeros where nobody wrote. */
static void one_replica_has_the_digest_of_the_volume(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct outcome o;
    f->config.volume.bytes = SHARDS * SHARD_BYTES - 3 * BLOCK; /* The last row ends early. */
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    write_numbers(f, 5 * M + BLOCK, 9);
    verify(f, &o);
    assert_int_equal(o.status.code, STATUS_OK);
    assert_true(volume_verify_is_good(&o.result));
    assert_int_equal(o.result.replica_count, 1);
    assert_int_equal(o.result.done_bytes, f->config.volume.bytes);
    expect_digest(f, o.result.replicas[0].sha256);
    fixture_destroy(f);
}

static void replicas_have_equal_digests(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct outcome o;
    verify(c->f, &o);
    assert_true(volume_verify_is_good(&o.result));
    assert_int_equal(o.result.replica_count, 3);
    assert_int_equal(o.result.finding_count, 0);
    for (unsigned i = 0; i < 3; i++)
        expect_digest(c->f, o.result.replicas[i].sha256);
    case_destroy(c);
}

/* One of another content is told with its address, its disk, and its own digest. */
static void a_block_that_differs_is_found(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct outcome o;
    c->f->stores[1].shards[0][3 * BLOCK + 17] ^= 1; /* Shard 0: slot 1. */
    c->f->stores[1].shards[0][4 * BLOCK] ^= 1;
    verify(c->f, &o);
    assert_int_equal(o.status.code, STATUS_OK);
    assert_false(volume_verify_is_good(&o.result));
    assert_int_equal(o.result.finding_count, 1);
    const struct volume_verify_finding *const found = &o.result.findings[0];
    assert_int_equal(found->kind, VOLUME_VERIFY_DIFFERS);
    assert_int_equal(found->replica, 1);
    assert_true(uuid_equal(found->disk, disk_uuid(1)));
    assert_int_equal(found->at, 3 * BLOCK);
    assert_int_equal(found->bytes, 2 * BLOCK);
    assert_int_equal(o.result.replicas[1].differing_blocks, 2);
    assert_true(o.result.replicas[1].whole);
    expect_digest(c->f, o.result.replicas[0].sha256);
    expect_digest(c->f, o.result.replicas[2].sha256);
    assert_memory_not_equal(o.result.replicas[1].sha256, o.result.replicas[0].sha256, SHA256_BYTES);
    case_destroy(c);
}

/* Blocks that cannot be read are told one by one, their replica has no digest; nothing is mended.
 */
static void bad_blocks_are_found_and_left(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct outcome o;
    struct store *const s = &c->f->stores[2];
    const unsigned writes = s->writes;
    s->bad_from = 5 * BLOCK; /* Of every shard. */
    s->bad_to = 7 * BLOCK;
    verify(c->f, &o);
    assert_int_equal(o.status.code, STATUS_OK);
    assert_false(volume_verify_is_good(&o.result));
    uint64_t bad = 0;
    for (unsigned i = 0; i < 3; i++) {
        bad += o.result.replicas[i].bad_blocks;
        assert_int_equal(o.result.replicas[i].whole, o.result.replicas[i].bad_blocks == 0);
        assert_int_equal(o.result.replicas[i].differing_blocks, 0);
    }
    assert_int_equal(bad, 2 * SHARDS); /* Each shard has a slot there. */
    assert_int_equal(o.result.finding_count, SHARDS);
    for (uint32_t i = 0; i < o.result.finding_count; i++) {
        assert_int_equal(o.result.findings[i].kind, VOLUME_VERIFY_BAD);
        assert_int_equal(o.result.findings[i].bytes, 2 * BLOCK);
        assert_true(uuid_equal(o.result.findings[i].disk, disk_uuid(2)));
    }
    assert_int_equal(s->writes, writes);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* What does not fit its checksum in the engine's memory is bad, too. */
static void the_engine_checks_what_it_got(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct outcome o;
    c->f->stores[0].wrong_crcs = true;
    verify(c->f, &o);
    assert_false(volume_verify_is_good(&o.result));
    assert_int_equal(o.result.findings[0].kind, VOLUME_VERIFY_BAD);
    assert_int_equal(o.result.findings[0].at, 0);
    assert_true(o.result.replicas[0].bad_blocks > 0);
    case_destroy(c);
}

/* I7: a replica that is out is named, and not read. */
static void who_is_out_of_sync_has_no_digest(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct fixture *f = c->f;
    struct outcome o;
    f->stores[2].write_status = STATUS(MEDIA_WRITE);
    write_numbers(f, M, 77);
    assert_false(is_member(c, 2));
    const unsigned reads = f->stores[2].reads;
    verify(f, &o);
    assert_int_equal(o.status.code, STATUS_OK);
    assert_false(volume_verify_is_good(&o.result));
    assert_int_equal(f->stores[2].reads, reads);
    assert_int_equal(o.result.finding_count, 3); /* A slot in each of three copysets. */
    uint64_t unread = 0;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(o.result.findings[i].kind, VOLUME_VERIFY_OUT_OF_SYNC);
        assert_true(uuid_equal(o.result.findings[i].disk, disk_uuid(2)));
        assert_false(o.result.replicas[i].whole);
        unread += o.result.replicas[i].unread_bytes;
    }
    assert_int_equal(unread, f->config.volume.bytes);
    case_destroy(c);
}

/* A disk that does not answer is excluded, as by a host's command, and what it lacks is told. */
static void a_disk_that_fails_is_told(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct outcome o;
    c->f->stores[1].fail_next = STATUS(IO);
    verify(c->f, &o);
    assert_int_equal(o.status.code, STATUS_OK);
    assert_false(volume_verify_is_good(&o.result));
    assert_false(is_member(c, 1));
    bool told = false;
    for (uint32_t i = 0; i < o.result.finding_count; i++)
        told |= o.result.findings[i].kind == VOLUME_VERIFY_UNREAD &&
                status_is(o.result.findings[i].why, STATUS_IO);
    assert_true(told);
    case_destroy(c);
}

/* Ends a command of the first or the last disk that has one; false: none has. */
static bool step(struct fixture *f, unsigned turn)
{
    for (unsigned k = 0; k < DISKS; k++) {
        struct store *const s = &f->stores[(turn + k) % DISKS];
        if (s->in_flight_count == 0)
            continue;
        fake_store_release(s, turn % s->in_flight_count);
        loop_run(&f->loop);
        return true;
    }
    return false;
}

/* R4: hosts write meanwhile, disks answer in any order, and the digests are equal. */
static void hosts_write_meanwhile(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct fixture *f = c->f;
    struct request writes[8] = { 0 };
    struct outcome o;
    unsigned turn = 0, written = 0;
    hold_all(f, true);
    start(f, &o, 0);
    loop_run(&f->loop);
    for (; !o.ended; turn++) {
        const unsigned slot = turn % 8;
        if (!writes[slot].busy) {
            fill(f, slot, 64 * K, (uint8_t)turn);
            submit(f, &writes[slot], slot, turn % 2, NVME_NS_WRITE,
                   o.ended ? 0 : volume_verify_progress(f->volume)->done_bytes / (64 * K) * 64 * K,
                   64 * K);
            loop_run(&f->loop);
            written++;
        }
        assert_true(step(f, turn * 7));
    }
    assert_int_equal(o.status.code, STATUS_OK);
    assert_true(volume_verify_is_good(&o.result));
    assert_true(written > 100);
    hold_all(f, false);
    case_destroy(c);
}

/* R9: what the engine before has left unequal is settled before it is compared; here in another
 * order than it is read, as a host asks for the last region first. */
static void what_is_not_settled_is_waited_for(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 8; turn++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        struct request read = { 0 };
        struct outcome o;
        for (unsigned i = 0; i < DISKS; i++) {
            for (unsigned shard = 0; shard < 7; shard += 6) { /* Of one copyset. */
                f->stores[i].shards[shard] = calloc(1, SHARD_BYTES);
                memset(f->stores[i].shards[shard], (int)(i + 1), SHARD_BYTES);
                for (unsigned region = 0; region < FAKE_REGIONS; region++)
                    f->stores[i].listed[shard][region] = ALL_SLOTS;
            }
        }
        f->hold_after_open = true;
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        submit(f, &read, 0, 0, NVME_NS_READ, 12 * M, BLOCK);
        loop_run(&f->loop);
        start(f, &o, 0);
        loop_run(&f->loop);
        for (unsigned k = turn; !o.ended; k++)
            assert_true(step(f, k));
        assert_int_equal(o.status.code, STATUS_OK);
        assert_true(volume_verify_is_good(&o.result));
        hold_all(f, false);
        assert_int_equal(read.req.status.code, STATUS_OK);
        case_destroy(c);
    }
}

/* It takes its time, lets what nobody wrote pass, and tells how far it is. */
static void the_rate_is_kept(void **state)
{
    (void)state;
    struct case_ *c = case_written(); /* Shards 0, 1, 2 and 3, 4, 5 are known: 12 MiB. */
    struct outcome o;
    start(c->f, &o, 4 * M);
    loop_run(&c->f->loop);
    unsigned ms = 0;
    for (; !o.ended; ms++) {
        assert_true(volume_verify_progress(c->f->volume)->done_bytes <=
                    ms * (4 * M / 1000) + 5 * M);
        loop_pass(&c->f->loop, NS_PER_MS);
    }
    assert_in_range(ms, 2900, 3200);
    assert_true(volume_verify_is_good(&o.result));
    case_destroy(c);
}

static void one_at_a_time_and_it_can_be_stopped(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    const struct volume_verify_config config = { 0, on_verified, NULL };
    struct outcome o;
    hold_all(c->f, true);
    start(c->f, &o, 0);
    assert_int_equal(volume_verify_start(c->f->volume, &config).code, STATUS_BUSY);
    loop_run(&c->f->loop);
    volume_verify_stop(c->f->volume);
    loop_run(&c->f->loop);
    assert_false(o.ended); /* Its reads are under way. */
    hold_all(c->f, false);
    assert_true(o.ended);
    assert_int_equal(o.status.code, STATUS_CANCELED);
    verify(c->f, &o);
    assert_true(volume_verify_is_good(&o.result));
    case_destroy(c);
}

/* The volume can be closed at any point; of one replica as of several, fenced before or not. */
static void it_ends_with_the_volume(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        struct case_ *c = i % 3 == 0 ? NULL : case_written();
        struct fixture *f = c == NULL ? fixture_opened() : c->f;
        struct outcome o;
        if (c == NULL)
            write_numbers(f, 0, 1);
        hold_all(f, true);
        start(f, &o, i % 2 == 0 ? 0 : 8 * M);
        loop_run(&f->loop);
        for (unsigned k = 0; k < i; k++)
            (void)step(f, k);
        if (i % 3 == 1)
            volume_fence(f->volume);
        f->closed = false;
        volume_close(f->volume, fixture_on_closed, f);
        loop_run(&f->loop);
        hold_all(f, false);
        assert_true(f->closed && o.ended);
        assert_int_equal(o.status.code, STATUS_FENCED);
        f->volume = NULL;
        if (c == NULL)
            fixture_destroy(f);
        else
            case_destroy(c);
    }
}

/* The fence is told after the change of members that is under way; what is read by then ends it. */
static void it_ends_before_the_fence_is_told(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct fixture *f = c->f;
    struct outcome o;

    hold_all(f, true);
    start(f, &o, M);
    loop_run(&f->loop);
    c->meta.hold = true;
    members_report(f->volume, &f->volume->calls[2]->leg, STATUS(MEDIA_WRITE));
    loop_run(&f->loop);
    assert_non_null(c->meta.done);
    volume_fence(f->volume);
    loop_run(&f->loop);
    assert_false(o.ended);
    hold_all(f, false);
    assert_true(o.ended);
    assert_int_equal(o.status.code, STATUS_FENCED);
    meta_release(&c->meta);
    loop_run(&f->loop);
    case_destroy(c);
}

static void a_fenced_volume_is_not_verified(void **state)
{
    (void)state;
    struct case_ *c = case_written();
    struct outcome o = { false };
    const struct volume_verify_config config = { 0, on_verified, &o };
    volume_fence(c->f->volume);
    assert_int_equal(volume_verify_start(c->f->volume, &config).code, STATUS_FENCED);
    loop_run(&c->f->loop);
    assert_false(o.ended);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_replica_has_the_digest_of_the_volume),
        cmocka_unit_test(replicas_have_equal_digests),
        cmocka_unit_test(a_block_that_differs_is_found),
        cmocka_unit_test(bad_blocks_are_found_and_left),
        cmocka_unit_test(the_engine_checks_what_it_got),
        cmocka_unit_test(who_is_out_of_sync_has_no_digest),
        cmocka_unit_test(a_disk_that_fails_is_told),
        cmocka_unit_test(hosts_write_meanwhile),
        cmocka_unit_test(what_is_not_settled_is_waited_for),
        cmocka_unit_test(the_rate_is_kept),
        cmocka_unit_test(one_at_a_time_and_it_can_be_stopped),
        cmocka_unit_test(it_ends_with_the_volume),
        cmocka_unit_test(it_ends_before_the_fence_is_told),
        cmocka_unit_test(a_fenced_volume_is_not_verified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
