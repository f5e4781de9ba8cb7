/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts that stay connected to the discovery service, and hear of what comes and goes.
 *
 * NVM Express Base Specification 2.0c, "Discovery Controller", "Discovery Log Page Change".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nvme/log_spec.h"
#include "target_harness.h"

#define OTHER_HOST "nqn.2026-01.io.trilith:host:h2"
#define EVENT      UINT32_C(0x0070f002) /* Notice, discovery log changed, page 70h. */
#define RETAIN     NVME_LOG_CDW10_RAE

static struct th th;

static struct th_host *connect_discovery(const char *host_nqn, uint32_t kato_ms)
{
    struct th_host *h = th_host_open(&th);
    const struct th_connect c = { .nqn = NQN_DISCOVERY, .host_nqn = host_nqn, .kato_ms = kato_ms };

    th_handshake(h, false, false);
    assert_int_equal(th_connect(h, &c).status, 0);
    assert_int_equal(th_property_set_cc(h, NVME_CC_EN).status, 0);
    return h;
}

/* A command that is answered at once: nothing else is under way to the host. */
static struct nvme_cqe admin(struct th_host *h, uint8_t opcode, uint32_t cdw10, uint32_t cdw11)
{
    struct nvme_sqe sqe = th_sqe_in(opcode, 0);

    sqe.cdw10 = cdw10;
    sqe.cdw11 = cdw11;
    return th_command(h, &sqe, NULL, 0);
}

static void request_event(struct th_host *h)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_ASYNC_EVENT, 0);

    sqe.cid = 1;
    th_send_command(h, &sqe, NULL, 0);
    th_run(&th, NS_PER_MS);
}

/* One that waits for events. */
static struct th_host *watcher(const char *host_nqn)
{
    struct th_host *h = connect_discovery(host_nqn, 0);

    assert_int_equal(
        admin(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_ASYNC_EVENT, NVME_AEN_DISCOVERY_CHANGED).status,
        0);
    request_event(h);
    return h;
}

static struct nvme_sqe log_header(uint32_t flags)
{
    const uint32_t bytes = sizeof(struct nvme_discovery_header_spec);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, bytes);

    sqe.cdw10 = NVME_LOG_DISCOVERY | flags | (bytes / 4 - 1) << 16;
    return sqe;
}

/* Reads the log's header, and returns how many records there are. */
static uint64_t read_log(struct th_host *h, uint32_t flags, uint64_t *out_genctr)
{
    struct nvme_discovery_header_spec header;
    const struct nvme_sqe sqe = log_header(flags);

    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    memcpy(&header, h->data, sizeof header);
    if (out_genctr != NULL)
        *out_genctr = le64_get(header.genctr);
    return le64_get(header.numrec);
}

static void expect_event(struct th_host *h)
{
    assert_int_equal(th_recv_cqe(h).result, EVENT);
}

static void expect_no_event(struct th_host *h)
{
    th_run(&th, 100 * NS_PER_MS);
    assert_int_equal(admin(h, NVME_ADMIN_KEEP_ALIVE, 0, 0).result, 0);
}

static struct nvme_subsys *add(const char *name, const char *host)
{
    const char *const hosts[] = { host };
    struct nqn_text nqn;
    struct nvme_subsys *subsys;
    struct status st = nqn_for_volume(name, &nqn);
    const struct nvme_subsys_config config = { .nqn = nqn.s,
                                               .serial = "TEST0002",
                                               .ns = &th.mem.ns,
                                               .hosts = hosts,
                                               .host_count = host != NULL ? 1 : 0 };

    assert_true(status_ok(st));
    st = nvme_subsys_add(th.target, &config, &subsys);
    assert_true(status_ok(st));
    return subsys;
}

static void drop(struct nvme_subsys *subsys)
{
    th.flag = false;
    nvme_subsys_remove(subsys, th_set_flag, &th);
    th_wait(&th, &th.flag);
}

/* A volume that comes, and one that goes, are each one event; what it is stands in the log. */
static void test_volumes_come_and_go(void **state)
{
    (void)state;
    uint64_t before, after;

    th_start(&th, NULL);
    struct th_host *h = watcher(NULL);
    assert_int_equal(read_log(h, 0, &before), 2);
    struct nvme_subsys *subsys = add("db2", NULL);
    expect_event(h);
    assert_int_equal(read_log(h, 0, &after), 3);
    assert_true(after > before);
    request_event(h);
    drop(subsys);
    expect_event(h);
    assert_int_equal(read_log(h, 0, &before), 2);
    assert_true(before > after);
    th_host_close(h);
    th_stop(&th);
}

/* Changes while nobody waits are one event for whoever asks next; Retain keeps it from repeating.
 */
static void test_events_wait_and_are_masked(void **state)
{
    (void)state;
    th_start(&th, NULL);
    struct th_host *h = watcher(NULL);
    drop(add("db2", NULL));
    expect_event(h);
    request_event(h);
    drop(add("db3", NULL));
    expect_no_event(h); /* The log was not read since. */
    read_log(h, RETAIN, NULL);
    expect_no_event(h);
    struct nvme_sqe sqe = log_header(0);
    sqe.cid = 2;
    th_send_command(h, &sqe, NULL, 0);
    expect_event(h); /* Of what has happened meanwhile, ... */
    assert_int_equal(th_recv_cqe(h).cid, 2);
    read_log(h, 0, NULL);
    request_event(h); /* ... which is over now. */
    expect_no_event(h);
    th_host_close(h);
    th_stop(&th);
}

/* A host hears of what it may see, and of nothing else: not even that there is something. */
static void test_only_those_who_may_see_it_hear(void **state)
{
    (void)state;
    const char *const others[] = { OTHER_HOST };
    const char *const both[] = { OTHER_HOST, TH_HOST_NQN };

    th_start(&th, NULL);
    struct th_host *h = watcher(TH_HOST_NQN);
    struct th_host *other = watcher(OTHER_HOST);
    struct nvme_subsys *subsys = add("db2", OTHER_HOST);
    expect_event(other);
    assert_int_equal(read_log(other, 0, NULL), 3);
    expect_no_event(h);
    assert_int_equal(read_log(h, 0, NULL), 2);

    /* The same list again is no change; one more host is one for that host. */
    request_event(other);
    struct status st = nvme_subsys_set_hosts(subsys, others, 1);
    assert_true(status_ok(st));
    expect_no_event(other);
    st = nvme_subsys_set_hosts(subsys, both, 2);
    assert_true(status_ok(st));
    expect_event(h);
    assert_int_equal(read_log(h, 0, NULL), 3);
    expect_no_event(other);
    request_event(h);
    st = nvme_subsys_set_hosts(subsys, others, 1);
    assert_true(status_ok(st));
    expect_event(h);
    assert_int_equal(read_log(h, 0, NULL), 2);
    request_event(h);
    drop(subsys);
    expect_event(other);
    expect_no_event(h);
    th_host_close(other);
    th_host_close(h);
    th_stop(&th);
}

/* "Explicit Persistent Connection Support": the service's own record says so, others do not. */
static void test_the_log_invites_to_stay(void **state)
{
    (void)state;
    struct nvme_discovery_record_spec records[2];

    th_start(&th, NULL);
    struct th_host *h = connect_discovery(NULL, 0);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, sizeof records);
    sqe.cdw10 = NVME_LOG_DISCOVERY | (uint32_t)(sizeof records / 4 - 1) << 16;
    sqe.cdw12 = sizeof(struct nvme_discovery_header_spec);
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    memcpy(records, h->data, sizeof records);
    assert_int_equal(records[0].subtype, NVME_SUBTYPE_CURRENT);
    assert_int_equal(le16_get(records[0].eflags), 2);
    assert_int_equal(records[1].subtype, NVME_SUBTYPE_NVM);
    assert_int_equal(le16_get(records[1].eflags), 0);
    th_host_close(h);
    th_stop(&th);
}

/* With a keep-alive timeout it stays as long as it keeps alive; without, 2 minutes without a
 * command end it, and any command counts. */
static void test_how_long_a_host_may_stay(void **state)
{
    (void)state;
    th_start(&th, NULL);
    struct th_host *persistent = connect_discovery(NULL, 10000);
    struct th_host *busy = connect_discovery(NULL, 0);
    struct th_host *idle = connect_discovery(NULL, 0);
    for (unsigned i = 0; i < 50; i++) {
        th_run(&th, 5 * NS_PER_S);
        assert_int_equal(admin(persistent, NVME_ADMIN_KEEP_ALIVE, 0, 0).status, 0);
        if (i % 20 == 19) /* Every 100 s. */
            assert_int_equal(read_log(busy, 0, NULL), 2);
    }
    assert_true(th_closed(idle));
    assert_int_equal(read_log(persistent, 0, NULL), 2);
    assert_int_equal(read_log(busy, 0, NULL), 2);
    th_run(&th, 20 * NS_PER_S);
    assert_true(th_closed(persistent));
    assert_int_equal(read_log(busy, 0, NULL), 2);
    th_host_close(idle);
    th_host_close(busy);
    th_host_close(persistent);
    th_stop(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volumes_come_and_go),
        cmocka_unit_test(test_events_wait_and_are_masked),
        cmocka_unit_test(test_only_those_who_may_see_it_hear),
        cmocka_unit_test(test_the_log_invites_to_stay),
        cmocka_unit_test(test_how_long_a_host_may_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
