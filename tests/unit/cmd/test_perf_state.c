/* SPDX-License-Identifier: Apache-2.0 */
/* The verify-state file: what one run wrote another reads, and nothing else passes for one. */
#include "cmd/perf_state.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct path {
    char dir[64];
    char file[96];
};

static const struct perf_state_id id = {
    .block_id = { .volume = { { 9 } }, .run = 0x123456789abcdef },
    .seed = 42,
    .first_block = 10,
    .block_count = 1000,
};

static int set_up(void **state)
{
    struct path *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->dir, sizeof p->dir, "/tmp/test_perf_state.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->file, sizeof p->file, "%s/state", p->dir);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct path *p = *state;
    (void)unlink(p->file);
    (void)rmdir(p->dir);
    free(p);
    return 0;
}

static struct perf_state *create(const struct path *p)
{
    struct perf_state *s = NULL;
    assert_true(status_ok(perf_state_create_file(p->file, &id, &s)));
    return s;
}

static enum status_code open_code(const struct path *p)
{
    struct perf_state *s = NULL;
    const struct status st = perf_state_open_file(p->file, &s);
    perf_state_close(s);
    return st.code;
}

static void patch(const struct path *p, off_t offset, const void *bytes, size_t count)
{
    const int fd = open(p->file, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, count, offset), count);
    close(fd);
}

static void a_later_run_reads_what_an_earlier_one_wrote(void **state)
{
    const struct path *p = *state;
    struct perf_state *s = create(p);

    perf_state_set_submitted(s, 999, 7);
    perf_state_set_acknowledged(s, 999, 6);
    perf_state_set_flushed(s, 999, 5);
    perf_state_close(s);

    assert_true(status_ok(perf_state_open_file(p->file, &s)));
    assert_memory_equal(perf_state_id(s), &id, sizeof id);
    const struct perf_record r = perf_state_get(s, 999);
    assert_int_equal(r.submitted, 7);
    assert_int_equal(r.acknowledged, 6);
    assert_int_equal(r.flushed, 5);
    assert_int_equal(perf_state_get(s, 0).submitted, 0);
    perf_state_close(s);
}

static void a_killed_process_loses_nothing(void **state)
{
    const struct path *p = *state;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct perf_state *s = create(p);
        perf_state_set_submitted(s, 3, 1);
        perf_state_set_acknowledged(s, 3, 1);
        raise(SIGKILL);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));

    struct perf_state *s = NULL;
    assert_true(status_ok(perf_state_open_file(p->file, &s)));
    assert_int_equal(perf_state_get(s, 3).acknowledged, 1);
    perf_state_close(s);
}

static void two_processes_cannot_have_one_file(void **state)
{
    const struct path *p = *state;
    struct perf_state *s = create(p);

    assert_int_equal(open_code(p), STATUS_BUSY);
    perf_state_close(s);
    assert_int_equal(open_code(p), STATUS_OK);
}

static void an_existing_file_is_not_overwritten(void **state)
{
    const struct path *p = *state;
    struct perf_state *s = create(p);

    perf_state_close(s);
    assert_int_equal(perf_state_create_file(p->file, &id, &s).code, STATUS_EXISTS);
}

static void what_is_no_state_file_is_refused(void **state)
{
    const struct path *p = *state;

    assert_int_equal(open_code(p), STATUS_NOT_FOUND);
    perf_state_close(create(p));
    for (off_t at = 0; at < 68; at++) { /* The header, its CRC included. */
        uint8_t was;
        const int fd = open(p->file, O_RDONLY);
        assert_int_equal(pread(fd, &was, 1, at), 1);
        close(fd);
        const uint8_t flipped = was ^ 0x40;
        patch(p, at, &flipped, 1);
        assert_int_equal(open_code(p), STATUS_CORRUPT);
        patch(p, at, &was, 1);
    }
    assert_int_equal(open_code(p), STATUS_OK);

    assert_int_equal(truncate(p->file, 4096 + 16 * 999), 0);
    assert_int_equal(open_code(p), STATUS_CORRUPT);
    assert_int_equal(truncate(p->file, 10), 0);
    assert_int_equal(open_code(p), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_later_run_reads_what_an_earlier_one_wrote),
        TEST(a_killed_process_loses_nothing),
        TEST(two_processes_cannot_have_one_file),
        TEST(an_existing_file_is_not_overwritten),
        TEST(what_is_no_state_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
