/* SPDX-License-Identifier: Apache-2.0 */
/* What is made at a start, without memory or on a full file system: devices, buffers, and the
 * verify state of `trilith perf`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/io/fake_reactor.h"
#include "cmd/perf_state.h"
#include "cmd/perf_verify.h"
#include "disk/dev.h"
#include "disk/dev_fault.h"
#include "fault.h"
#include "io/buf.h"

#define BYTES ((size_t)1 << 20)

static struct fake_reactor reactor;

/* OK, or NO_MEMORY where an allocation has failed. */
static bool answer_is_ok(struct status st)
{
    if (!fault_happened())
        assert_true(status_ok(st));
    else if (!status_ok(st))
        assert_int_equal(st.code, STATUS_NO_MEMORY);
    return status_ok(st);
}

static void devices_scenario(void)
{
    struct dev *inner = NULL, *dev = NULL;

    fake_reactor_init(&reactor);
    fault_begin();
    const bool opened = answer_is_ok(dev_mem_open(&reactor.base, BYTES, NULL, &inner));
    const bool wrapped = opened && answer_is_ok(dev_fault_open(inner, &dev));
    fault_end();
    /* A device that could not be wrapped is still the caller's. */
    dev_close(wrapped ? dev : inner);
}

static void devices_say_so(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, devices_scenario);
}

static void buffers_scenario(void)
{
    struct buf_pool *pool;

    fake_reactor_init(&reactor);
    fault_begin();
    const bool made = answer_is_ok(buf_pool_create(&reactor.base, BYTES, &pool));
    fault_end();
    assert_true(made == !fault_happened());
    if (made)
        buf_pool_destroy(pool);
}

static void buffers_say_so(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, buffers_scenario);
}

/* ---- The verify state ---- */

static const struct perf_state_id id = {
    .block_id = { .volume = { { 9 } }, .run = 0x123456789abcdef },
    .seed = 42,
    .first_block = 10,
    .block_count = 100,
};

static char path[] = "/tmp/fault_state.XXXXXX";

/* A state, with what is known of its blocks beside it. */
static struct status use(struct perf_state *state)
{
    struct perf_verify *verify;

    TRY(perf_verify_create(&(struct perf_verify_config) { .state = state }, &verify));
    perf_verify_destroy(verify);
    return STATUS(OK);
}

static void assert_file(uint32_t sequence)
{
    struct perf_state *state;

    assert_true(status_ok(perf_state_open_file(path, &state)));
    assert_int_equal(perf_state_get(state, 7).submitted, sequence);
    perf_state_close(state);
}

/* Creates the file and opens it again; whatever fails leaves a file that is whole, or none. */
static struct status create_and_open(void)
{
    struct perf_state *state;

    TRY(perf_state_create_file(path, &id, &state));
    perf_state_set_submitted(state, 7, 3);
    struct status st = use(state);
    perf_state_close(state);
    TRY(st);
    TRY(perf_state_open_file(path, &state));
    st = use(state);
    perf_state_close(state);
    return st;
}

static void state_run(bool memory)
{
    fault_begin();
    const struct status st = create_and_open();
    fault_end();
    assert_true(status_ok(st) || fault_happened());
    if (memory)
        (void)answer_is_ok(st);
    if (access(path, F_OK) != 0)
        assert_true(status_ok(create_and_open()));
    assert_file(3);
    assert_int_equal(unlink(path), 0);
}

static void state_memory_scenario(void)
{
    state_run(true);
}

static void state_io_scenario(void)
{
    state_run(false);
}

/* A state that cannot be kept leaves no half of a file behind, and the next attempt works. */
static void verify_states_are_whole(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    fault_each(FAULT_ALLOCATION, state_memory_scenario);
    fault_each(FAULT_IO, state_io_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_say_so),
        cmocka_unit_test(buffers_say_so),
        cmocka_unit_test(verify_states_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
