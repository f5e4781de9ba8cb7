/* SPDX-License-Identifier: Apache-2.0 */
/* What the initiator does with a target that works: association, I/O, discovery. */
#include "initiator_host.h"
#include "nvme/initiator_discovery.h"

#include <stdlib.h>
#include <string.h>

static void a_controller_says_what_it_is(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    const struct initiator_ctrl_info *info = initiator_ctrl_info(h->ctrl);
    const struct initiator_ns_info *ns = initiator_ctrl_ns(h->ctrl);

    assert_int_equal(info->cntlid, initiator_queue_cntlid(h->queue));
    assert_int_equal(info->data_bytes_max, NVME_DATA_BYTES_MAX);
    assert_int_equal(info->in_capsule_bytes, NVME_IN_CAPSULE_BYTES_MAX);
    assert_int_equal(info->queue_entries_max, NVME_QUEUE_ENTRIES_MAX);
    assert_int_equal(info->io_queues, 4);
    assert_true(info->can_write_zeroes);
    assert_true(info->can_deallocate);
    assert_string_equal(info->serial, "TEST0001");
    assert_int_equal(ns->nsid, 1);
    assert_int_equal(ns->bytes, TH_NS_BYTES);
    assert_int_equal(ns->lba_bytes, 4096);
    assert_true(uuid_equal(ns->uuid, h->th.mem.info.uuid));
    host_destroy(h);
}

static void data_of_every_size_arrive(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);

    /* In the capsule (up to 8 KiB), by R2T, and as large as a command may be. */
    static const size_t sizes[] = { 4096, 8192, 12288, 65536, 131072, NVME_DATA_BYTES_MAX };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        round_trip(h, 4096 * (i + 1), sizes[i]);
    host_destroy(h);
}

static void digests_are_used_where_both_want_them(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, true);

    assert_true(initiator_queue_header_digest(h->queue));
    assert_true(initiator_queue_data_digest(h->queue));
    round_trip(h, 0, 4096);
    round_trip(h, 8192, 262144);
    host_destroy(h);
}

static void a_stream_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct host *h = host_connected(&(struct th_options) { .segment_max = 1 }, true);

    round_trip(h, 4096, 4096);
    round_trip(h, 0, 12288);
    host_destroy(h);
}

static void lbas_may_have_512_bytes(void **state)
{
    (void)state;
    struct host *h = host_connected(&(struct th_options) { .lba_bytes = 512 }, false);

    assert_int_equal(initiator_ctrl_ns(h->ctrl)->lba_bytes, 512);
    round_trip(h, 512, 1536);
    host_destroy(h);
}

static void every_command_does_what_it_says(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    uint8_t data[8192];

    memset(data, 0xab, sizeof data);
    const struct span span = { data, sizeof data };
    assert_true(status_ok(transfer(h, INITIATOR_WRITE, 0, span)));
    const struct initiator_io fua = {
        .opcode = INITIATOR_WRITE, .fua = true, .offset = 0, .data = span
    };
    assert_true(status_ok(run_io(h, fua)));
    assert_int_equal(h->th.mem.fuas, 1);
    assert_true(status_ok(run_io(h, (struct initiator_io) { .opcode = INITIATOR_FLUSH })));
    assert_int_equal(h->th.mem.flushes, 1);
    assert_true(status_ok(run_io(h, (struct initiator_io) { .opcode = INITIATOR_WRITE_ZEROES,
                                                            .deallocate = true,
                                                            .offset = 4096,
                                                            .bytes = 4096 })));
    assert_int_equal(h->th.mem.memory[4095], 0xab);
    assert_int_equal(h->th.mem.memory[4096], 0);
    assert_true(status_ok(run_io(
        h, (struct initiator_io) { .opcode = INITIATOR_DEALLOCATE, .offset = 0, .bytes = 4096 })));
    assert_int_equal(h->th.mem.memory[0], 0);
    host_destroy(h);
}

static void the_controllers_statuses_arrive(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    static uint8_t data[16384];
    const struct span small = { data, 4096 };
    const struct span large = { data, sizeof data };

    assert_int_equal(transfer(h, INITIATOR_READ, TH_NS_BYTES, small).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(transfer(h, INITIATOR_WRITE, TH_NS_BYTES, large).code, STATUS_OUT_OF_RANGE);
    h->th.mem.fail = STATUS(NO_SPACE);
    assert_int_equal(transfer(h, INITIATOR_WRITE, 0, small).code, STATUS_NO_SPACE);
    assert_int_equal(transfer(h, INITIATOR_WRITE, 0, large).code, STATUS_NO_SPACE);
    h->th.mem.fail = STATUS(MEDIA_READ);
    assert_int_equal(transfer(h, INITIATOR_READ, 0, small).code, STATUS_MEDIA_READ);
    h->th.mem.fail = STATUS(OK);
    round_trip(h, 0, 4096); /* And nobody is worse off. */
    host_destroy(h);
}

#define MANY 200

static void more_commands_than_entries_wait_their_turn(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    struct test_io *ios = calloc(MANY, sizeof *ios);
    static uint8_t data[MANY][4096];

    assert_non_null(ios);
    for (unsigned i = 0; i < MANY; i++) {
        memset(data[i], (int)i, sizeof data[i]);
        ios[i].io = (struct initiator_io) { .opcode = INITIATOR_WRITE,
                                            .offset = i * 4096,
                                            .data = { data[i], sizeof data[i] } };
        submit(h, &ios[i]);
    }
    assert_int_equal(initiator_queue_outstanding(h->queue), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        th_wait(&h->th, &ios[i].done);
        assert_int_equal(ios[i].io.status.code, STATUS_OK);
        assert_int_equal(ios[i].dones, 1);
        assert_int_equal(h->th.mem.memory[i * 4096], i);
    }
    assert_int_equal(initiator_queue_outstanding(h->queue), 0);
    free(ios);
    host_destroy(h);
}

/* ---- Discovery ---- */

struct discovery {
    bool done;
    struct status status;
    unsigned count;
    struct initiator_discovery_record first;
    struct initiator_discovery_record second;
};

static void on_discovered(struct initiator_discovery *d, struct status st,
                          const struct initiator_discovery_record *records, unsigned count)
{
    struct discovery *out = initiator_discovery_ctx(d);

    out->done = true;
    out->status = st;
    out->count = count;
    if (count > 0)
        out->first = records[0];
    if (count > 1)
        out->second = records[1];
    initiator_discovery_destroy(d);
}

static void discovery_lists_the_subsystems(void **state)
{
    (void)state;
    struct host *h = host_create(NULL);
    struct discovery found = { 0 };
    struct initiator_discovery *d;
    const struct initiator_discovery_config config = {
        .ctx = &found,
        .reactor = h->th.host,
        .endpoint = h->endpoint,
        .log = &h->log,
        .done = on_discovered,
    };

    assert_true(status_ok(initiator_discovery_create(&config, &d)));
    initiator_discovery_start(d);
    th_wait(&h->th, &found.done);
    assert_int_equal(found.status.code, STATUS_OK);
    assert_true(found.count >= 1);
    const struct initiator_discovery_record *volume =
        found.first.subtype == NVME_SUBTYPE_NVM ? &found.first : &found.second;
    assert_int_equal(volume->subtype, NVME_SUBTYPE_NVM);
    assert_string_equal(volume->subsystem_nqn.s, TH_NQN);
    assert_true(volume->is_tcp);
    assert_true(io_addr_equal(&volume->addr, &h->th.addr));
    host_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_controller_says_what_it_is),
        cmocka_unit_test(data_of_every_size_arrive),
        cmocka_unit_test(digests_are_used_where_both_want_them),
        cmocka_unit_test(a_stream_may_come_byte_by_byte),
        cmocka_unit_test(lbas_may_have_512_bytes),
        cmocka_unit_test(every_command_does_what_it_says),
        cmocka_unit_test(the_controllers_statuses_arrive),
        cmocka_unit_test(more_commands_than_entries_wait_their_turn),
        cmocka_unit_test(discovery_lists_the_subsystems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
