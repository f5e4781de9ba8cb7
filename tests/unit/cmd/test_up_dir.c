/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static char scratch[] = "/tmp/trilith-up-XXXXXX";

static int make_scratch(void **state)
{
    (void)state;
    return mkdtemp(scratch) == NULL ? -1 : 0;
}

static int remove_scratch(void **state)
{
    static const char *const names[] = { "d/node-1/uuid", "d/node-1", "d/lock", "d/run.json", "d",
                                         "e/node-1/uuid", "e/node-1", "e/lock", "e/meta.db",  "e",
                                         "file",          "" };
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        (void)remove(path);
    }
    return access(scratch, F_OK) == 0 ? -1 : 0;
}

static const char *in_scratch(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

/* A directory is made, locked against a second opener, and free again when it is closed. */
static void one_opener_at_a_time(void **state)
{
    (void)state;
    struct up_dir a;
    struct up_dir b;
    assert_true(status_ok(up_dir_open(in_scratch("d"), &a)));
    assert_int_equal(up_dir_open(in_scratch("d"), &b).code, STATUS_BUSY);
    up_dir_close(&a);
    assert_true(status_ok(up_dir_open(in_scratch("d"), &b)));
    up_dir_close(&b);
}

/* Who cannot open the lock cannot hold it: also one of before that anybody could. */
static void the_lock_is_ours_alone(void **state)
{
    (void)state;
    struct up_dir dir;
    struct stat st;
    assert_true(status_ok(up_dir_open(in_scratch("d"), &dir)));
    up_dir_close(&dir);
    assert_int_equal(chmod(in_scratch("d/lock"), 0644), 0);
    assert_true(status_ok(up_dir_open(in_scratch("d"), &dir)));
    assert_int_equal(stat(in_scratch("d/lock"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    up_dir_close(&dir);
}

/* The node's UUID is the same at every start. */
static void the_node_keeps_its_uuid(void **state)
{
    (void)state;
    struct up_dir dir;
    struct uuid first;
    struct uuid again;
    assert_true(status_ok(up_dir_open(in_scratch("d"), &dir)));
    assert_true(status_ok(up_dir_node_uuid(&dir, &first)));
    assert_true(status_ok(up_dir_node_uuid(&dir, &again)));
    assert_false(uuid_is_nil(first));
    assert_true(uuid_equal(first, again));
    up_dir_close(&dir);
}

/* A controller does not begin anew where there is a node of another one. */
static void a_lost_meta_store_is_not_made_anew(void **state)
{
    (void)state;
    struct up_dir dir;
    struct uuid uuid;
    assert_true(status_ok(up_dir_open(in_scratch("e"), &dir)));
    assert_true(status_ok(up_dir_check_meta(&dir)));
    assert_true(status_ok(up_dir_node_uuid(&dir, &uuid)));
    assert_int_equal(up_dir_check_meta(&dir).code, STATUS_NOT_FOUND);
    FILE *f = fopen(in_scratch("e/meta.db"), "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(up_dir_check_meta(&dir).code, STATUS_NOT_FOUND);
    f = fopen(in_scratch("e/meta.db"), "w");
    fputc('x', f);
    fclose(f);
    assert_true(status_ok(up_dir_check_meta(&dir)));
    up_dir_close(&dir);
}

/* run.json names the process and its ports, and is gone after an orderly end. */
static void run_json_tells_who_runs(void **state)
{
    (void)state;
    struct up_dir dir;
    struct up_run run = { 0 };
    assert_true(status_ok(io_addr_parse("127.0.0.1:4421", 0, &run.listen)));
    assert_true(status_ok(io_addr_parse("127.0.0.1:7421", 0, &run.api)));
    run.advertise = run.listen;
    assert_true(status_ok(up_dir_open(in_scratch("d"), &dir)));
    assert_true(status_ok(up_dir_write_run(&dir, &run)));
    json_t *json = json_load_file(in_scratch("d/run.json"), 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(json, "pid")), getpid());
    assert_int_equal(json_integer_value(json_object_get(json, "port")), 4421);
    assert_string_equal(json_string_value(json_object_get(json, "api")), "127.0.0.1:7421");
    json_decref(json);
    up_dir_close(&dir);
    assert_int_not_equal(access(in_scratch("d/run.json"), F_OK), 0);
}

/* A file in the directory's place, and a directory without its parent, are refused. */
static void what_cannot_be_a_directory(void **state)
{
    (void)state;
    struct up_dir dir;
    FILE *file = fopen(in_scratch("file"), "w");
    assert_non_null(file);
    fclose(file);
    assert_false(status_ok(up_dir_open(in_scratch("file"), &dir)));
    assert_int_equal(up_dir_open(in_scratch("no/d"), &dir).code, STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_opener_at_a_time),
        cmocka_unit_test(the_lock_is_ours_alone),
        cmocka_unit_test(the_node_keeps_its_uuid),
        cmocka_unit_test(a_lost_meta_store_is_not_made_anew),
        cmocka_unit_test(run_json_tells_who_runs),
        cmocka_unit_test(what_cannot_be_a_directory),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
