/* SPDX-License-Identifier: Apache-2.0 */
/* What only the store in a file can meet: a second process, damage, strangers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "meta/meta.h"

static char dir[64];
static char path[96];
static char problem[META_PROBLEM_BYTES];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/trilith-sqlite.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/meta.db", dir);
    return 0;
}

static int teardown(void **state)
{
    char other[128];
    (void)state;
    snprintf(other, sizeof other, "%s-wal", path);
    unlink(other);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

static void expect_open(enum status_code code, const char *text)
{
    struct meta *m = NULL;
    const struct status st = meta_sqlite_open(path, problem, &m);
    assert_string_equal(status_name(st), status_name((struct status) { code }));
    if (text != NULL && strstr(problem, text) == NULL)
        fail_msg("'%s' does not say '%s'", problem, text);
    meta_close(m);
}

static void fill(unsigned count)
{
    struct meta *m;
    struct meta_txn txn;
    uint8_t value[512] = { 1 };

    assert_true(status_ok(meta_sqlite_open(path, problem, &m)));
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%u", i);
        meta_txn_init(&txn);
        meta_txn_put(&txn, key, (struct const_span) { value, sizeof value });
        assert_true(status_ok(meta_commit(m, &txn, NULL)));
        meta_txn_fini(&txn);
    }
    meta_close(m);
}

/* A store that is open is refused to everybody else, who is told so. */
static void second_opener(void **state)
{
    struct meta *m;
    (void)state;
    assert_true(status_ok(meta_sqlite_open(path, problem, &m)));
    expect_open(STATUS_BUSY, "another process has it open");
    meta_close(m);
    expect_open(STATUS_OK, NULL);
}

/* A page that was overwritten is found when the store is opened, not when it is read. */
static void damaged_page(void **state)
{
    (void)state;
    fill(100);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    /* The first page stays: it is the inner pages that nobody looks at on opening. */
    assert_int_equal(fseek(f, 2 * 4096, SEEK_SET), 0);
    for (unsigned i = 0; i < 4 * 4096; i++)
        fputc(0xa5, f);
    fclose(f);
    expect_open(STATUS_CORRUPT, "put back a copy of its last state");
}

/* A file that is no database at all is refused and left as it is. */
static void no_database(void **state)
{
    (void)state;
    FILE *f = fopen(path, "w");
    for (unsigned i = 0; i < 5000; i++)
        fputc('x', f);
    fclose(f);
    expect_open(STATUS_CORRUPT, "not a database");
}

static void run_sql(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Another program's database is refused. */
static void foreign_database(void **state)
{
    (void)state;
    run_sql("CREATE TABLE songs(name TEXT)");
    expect_open(STATUS_FOREIGN, "another program");
}

/* A database of a later version is refused with both versions. */
static void later_version(void **state)
{
    (void)state;
    fill(1);
    run_sql("PRAGMA user_version = 2");
    expect_open(STATUS_BAD_VERSION, "its schema has version 2");
}

static void expect_reopen(enum status_code code, const char *text)
{
    struct meta *m = NULL;
    const struct status st = meta_sqlite_reopen(path, problem, &m);
    assert_string_equal(status_name(st), status_name((struct status) { code }));
    if (strstr(problem, text) == NULL)
        fail_msg("'%s' does not say '%s'", problem, text);
    meta_close(m);
}

/* What a killed process leaves without its WAL is no new database where there must be one. */
static void lost_wal(void **state)
{
    (void)state;
    expect_reopen(STATUS_NOT_FOUND, "unable to open");
    run_sql("PRAGMA journal_mode = WAL; PRAGMA user_version = 0");
    expect_reopen(STATUS_NOT_FOUND, "it is empty, though nodes have joined its cluster; put it "
                                    "back with its '-wal'");
    expect_open(STATUS_OK, NULL);
    expect_reopen(STATUS_OK, "");
}

/* A path that cannot be is named. */
static void no_such_folder(void **state)
{
    (void)state;
    char kept[96];
    memcpy(kept, path, sizeof kept);
    snprintf(path, sizeof path, "/nonexistent/meta.db");
    expect_open(STATUS_NOT_FOUND, "/nonexistent/meta.db");
    memcpy(path, kept, sizeof path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(second_opener, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_page, setup, teardown),
        cmocka_unit_test_setup_teardown(no_database, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_database, setup, teardown),
        cmocka_unit_test_setup_teardown(later_version, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_wal, setup, teardown),
        cmocka_unit_test_setup_teardown(no_such_folder, setup, teardown),
    };
    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
