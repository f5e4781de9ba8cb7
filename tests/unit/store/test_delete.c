/* SPDX-License-Identifier: Apache-2.0 */
/* The deletion of a volume, while others live on the same disk. */
#include <stdio.h>

#include "rig_case.h"
#include "store/store_internal.h"

#define K ((uint64_t)1024)
#define M (K * K)

static struct rig rig;

static void open_rig(uint8_t *content)
{
    rig_init(&rig, content, 1);
    if (content == NULL)
        assert_status(rig_format(&rig), STATUS_OK);
    else
        rig.boot.b[0] = 2; /* Another life of the machine. */
    rig_serve(&rig);
}

static struct store_info info(void)
{
    struct store_info out;
    store_get_info(rig.store, &out);
    return out;
}

/* A session of a second volume. */
static struct store_session *other_session(void)
{
    struct store_session_config config = rig_session_config(1);
    const struct store_session_opened mine = rig.session;

    config.volume.uuid.b[0] = 7;
    snprintf(config.volume.name, sizeof config.volume.name, "db2");
    rig.done = false;
    assert_status(store_session_open(rig.store, &config, rig_on_session, &rig), STATUS_OK);
    rig_wait(&rig);
    assert_status(rig.session.status, STATUS_OK);
    struct store_session *const other = rig.session.session;
    rig.session = mine;
    return other;
}

static void submit_at(struct store_session *session, struct rig_io *r, enum store_opcode opcode,
                      uint32_t shard, uint64_t bytes, uint8_t fill)
{
    struct store_session *const mine = rig.session.session;

    rig.session.session = session;
    rig_submit(&rig, r, opcode, 0, bytes, fill);
    rig.session.session = mine;
    r->io.shard = shard; /* It is looked at in the next turn. */
}

/* First touches of another volume go on, also with records behind that of the deletion. */
static void others_write_meanwhile(void **state)
{
    (void)state;
    struct rig_io gone, write[8];

    open_rig(NULL);
    struct store_session *const other = other_session();
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 512 * K, 0x11), STATUS_OK);
    rig_submit(&rig, &gone, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    for (uint32_t i = 0; i < 8; i++) {
        rig_turn(&rig);
        submit_at(other, &write[i], STORE_OP_WRITE, i, 128 * K, 0x22);
    }
    rig_io_wait(&rig, &gone);
    assert_status(gone.io.status, STATUS_OK);
    for (unsigned i = 0; i < 8; i++) {
        rig_io_wait(&rig, &write[i]);
        assert_status(write[i].io.status, STATUS_OK);
        free(write[i].data);
    }
    assert_int_equal(info().volumes, 1);
    assert_int_equal(info().shards, 8);
    store_session_close(other);
    rig_abandon(&rig);
}

/* A large volume goes in pieces: one shard in a turn, and the rest is served in between. */
static void goes_shard_by_shard(void **state)
{
    (void)state;
    struct rig_io r;
    uint64_t shards = 16;

    open_rig(NULL);
    for (uint32_t i = 0; i < shards; i++) {
        submit_at(rig.session.session, &r, STORE_OP_WRITE, i, 128 * K, 0x11);
        rig_io_wait(&rig, &r);
        free(r.data);
    }
    assert_int_equal(info().shards, shards);
    rig_submit(&rig, &r, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    while (!r.done) {
        if (list_empty(&rig.reactor.tasks))
            assert_true(rig_turn(&rig));
        else
            fake_reactor_run_tasks(&rig.reactor);
        assert_true(shards - info().shards <= 1);
        shards = info().shards;
    }
    assert_int_equal(shards, 0);
    assert_int_equal(info().volumes, 0);
    rig_abandon(&rig);
}

/* One turn of the loop: a request ends, and each task runs once. */
static void short_turn(void)
{
    struct list_node *const n = list_pop_front(&rig.pending);

    if (n != NULL) {
        struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);
        io->status = rig_transfer(&rig, io);
        io->done(io);
    }
    fake_reactor_run_tasks(&rig.reactor);
}

/* A checkpoint that is taken while a deleted volume is half gone has nothing of it. */
static void checkpoints_leave_it_out(void **state)
{
    (void)state;
    struct rig_io r;
    uint64_t sequence;

    open_rig(NULL);
    rig_record(&rig);
    for (uint32_t i = 0; i < 16; i++) {
        submit_at(rig.session.session, &r, STORE_OP_WRITE, i, 128 * K, 0x11);
        rig_io_wait(&rig, &r);
        free(r.data);
    }
    rig_submit(&rig, &r, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    while (info().shards == 16)
        short_turn();
    sequence = rig.store->sb.checkpoint_sequence;
    checkpoint_request(rig.store);
    while (rig.store->checkpoint.sm.now == 0 || rig.store->checkpoint.phase == 0)
        short_turn();
    assert_false(r.done); /* It is dumped while shards are left. */
    while (rig.store->sb.checkpoint_sequence == sequence || !r.done)
        short_turn();
    assert_status(r.io.status, STATUS_OK);

    uint8_t *const image = malloc(RIG_DEVICE_BYTES);
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_abandon(&rig);
    rig_init(&rig, image, 1);
    rig.boot.b[0] = 2;
    assert_status(rig_open(&rig), STATUS_OK);
    assert_int_equal(info().volumes, 0);
    assert_int_equal(info().shards, 0);
    rig_abandon(&rig);
    free(image);
}

/* After a power failure, with the volume's regions not settled yet. */
static void suspect_regions_go_with_it(void **state)
{
    (void)state;
    struct rig_io r;

    open_rig(NULL);
    rig_record(&rig);
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 8; i++) {
            submit_at(rig.session.session, &r, STORE_OP_WRITE, i, 128 * K, (uint8_t)(round + 1));
            rig_io_wait(&rig, &r);
            free(r.data);
        }
        assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    }
    uint8_t *const image = malloc(RIG_DEVICE_BYTES);
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_abandon(&rig);

    for (unsigned turns = 0; turns < 40; turns++) {
        uint8_t *const copy = malloc(RIG_DEVICE_BYTES);
        memcpy(copy, image, RIG_DEVICE_BYTES);
        open_rig(copy);
        for (unsigned i = 0; i < turns; i++)
            rig_turn(&rig);
        assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_OK);
        assert_int_equal(info().shards, 0);
        rig_abandon(&rig);
        free(copy);
    }
    free(image);
}

/* Each waits until nothing else of the volume is under way: one of them must not count. */
static void two_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct rig_io write, first, second;

    open_rig(NULL);
    submit_at(rig.session.session, &write, STORE_OP_WRITE, 0, 128 * K, 0x11);
    rig_submit(&rig, &first, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    rig_submit(&rig, &second, STORE_OP_DELETE_VOLUME, 0, 0, 0);
    rig_io_wait(&rig, &first);
    rig_io_wait(&rig, &second);
    rig_io_wait(&rig, &write);
    free(write.data);
    assert_status(first.io.status, STATUS_OK);
    assert_status(second.io.status, STATUS_NOT_FOUND);
    assert_int_equal(info().volumes, 0);
    rig_abandon(&rig);
}

static struct status open_known(uint64_t epoch)
{
    struct store_session_config config = rig_session_config(epoch);

    config.known = true;
    rig.done = false;
    assert_status(store_session_open(rig.store, &config, rig_on_session, &rig), STATUS_OK);
    rig_wait(&rig);
    return rig.session.status;
}

/* 7.2 of docs/replication.md: the epoch that has deleted it is gone, too: who opened it before, and
 * comes once more, is refused, and leaves nothing. */
static void who_knows_it_of_old_does_not_make_it_anew(void **state)
{
    (void)state;
    open_rig(NULL);
    store_session_close(rig.session.session);
    assert_status(open_known(2), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_OK);
    store_session_close(rig.session.session);
    for (uint64_t epoch = 1; epoch < 4; epoch++)
        assert_status(open_known(epoch), STATUS_UNKNOWN_VOLUME);
    assert_int_equal(info().volumes, 0);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    rig_abandon(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_write_meanwhile),
        cmocka_unit_test(goes_shard_by_shard),
        cmocka_unit_test(checkpoints_leave_it_out),
        cmocka_unit_test(suspect_regions_go_with_it),
        cmocka_unit_test(two_do_not_wait_for_each_other),
        cmocka_unit_test(who_knows_it_of_old_does_not_make_it_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
