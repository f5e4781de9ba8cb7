/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded meta store: one SQLite database, of which this process is the only user.
 *
 *   kv(key, value, revision, lease)       one row per key
 *   state(id = 0, revision)               the revision of the last commit
 *   PRAGMA application_id, user_version   whose file it is, and its schema's version
 *
 * WAL with synchronous=FULL: a commit that was reported survives power loss.  The exclusive
 * locking mode keeps a second process out for as long as this one lives, and needs no
 * shared-memory file.
 *
 * Threading: as meta.h.   Memory: statements are prepared once.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "meta/meta_internal.h"

#define APPLICATION_ID 0x54524c44 /* "TRLD" */
#define SCHEMA_VERSION 1

enum statement {
    STMT_GET,
    STMT_RANGE,
    STMT_REVISION_OF,
    STMT_PUT,
    STMT_REMOVE,
    STMT_SET_REVISION,
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_COUNT
};

static const char *const statement_texts[STMT_COUNT] = {
    [STMT_GET] = "SELECT value, revision FROM kv WHERE key = ?1",
    [STMT_RANGE] = "SELECT key, value, revision FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key",
    [STMT_REVISION_OF] = "SELECT revision FROM kv WHERE key = ?1",
    [STMT_PUT] = "INSERT OR REPLACE INTO kv(key, value, revision, lease) VALUES(?1, ?2, ?3, ?4)",
    [STMT_REMOVE] = "DELETE FROM kv WHERE key = ?1",
    [STMT_SET_REVISION] = "UPDATE state SET revision = ?1 WHERE id = 0",
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
};

struct meta_sqlite {
    struct meta meta;
    sqlite3 *db;
    sqlite3_stmt *statements[STMT_COUNT];
};

static struct meta_sqlite *sqlite_of(struct meta *m)
{
    return CONTAINER_OF(m, struct meta_sqlite, meta);
}

static struct status status_from_sqlite(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return STATUS(OK);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STATUS(BUSY);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return STATUS(CORRUPT);
    case SQLITE_FULL:
        return STATUS(NO_SPACE);
    case SQLITE_NOMEM:
        return STATUS(NO_MEMORY);
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return STATUS(DENIED);
    case SQLITE_CANTOPEN:
        return STATUS(NOT_FOUND);
    default:
        return STATUS(IO);
    }
}

/* ---- Statements ---- */

static struct status bind_text(sqlite3_stmt *s, int index, const char *text)
{
    return status_from_sqlite(sqlite3_bind_text(s, index, text, -1, SQLITE_STATIC));
}

static struct status bind_u64(sqlite3_stmt *s, int index, uint64_t value)
{
    return status_from_sqlite(sqlite3_bind_int64(s, index, (sqlite3_int64)value));
}

/* One step; *out_row says whether there is a row to read. */
static struct status step(sqlite3_stmt *s, bool *out_row)
{
    const int rc = sqlite3_step(s);
    *out_row = rc == SQLITE_ROW;
    return status_from_sqlite(rc);
}

static void statement_reset(sqlite3_stmt **s)
{
    if (*s == NULL)
        return;
    sqlite3_reset(*s);
    sqlite3_clear_bindings(*s);
}

/* Runs a statement that has no rows and no parameters. */
static struct status run(struct meta_sqlite *sq, enum statement which)
{
    CLEANUP(statement_reset) sqlite3_stmt *s = sq->statements[which];
    bool row;
    return step(s, &row);
}

/* ---- Reading ---- */

static struct status sqlite_get(struct meta *m, const char *key, struct meta_value *out_value)
{
    CLEANUP(statement_reset) sqlite3_stmt *s = sqlite_of(m)->statements[STMT_GET];
    bool row;

    TRY(bind_text(s, 1, key));
    TRY(step(s, &row));
    if (!row)
        return STATUS(NOT_FOUND);

    const void *blob = sqlite3_column_blob(s, 0);
    const size_t bytes = (size_t)sqlite3_column_bytes(s, 0);
    uint8_t *data = malloc(bytes + 1);
    if (data == NULL)
        return STATUS(NO_MEMORY);
    if (bytes > 0)
        memcpy(data, blob, bytes);
    *out_value = (struct meta_value) { .data = data,
                                       .bytes = bytes,
                                       .revision = (uint64_t)sqlite3_column_int64(s, 1) };
    return STATUS(OK);
}

/* The first key after all that start with prefix: keys are ASCII, so that adding one fits. */
static struct meta_key range_end(const char *prefix)
{
    struct meta_key end = { "" };
    const size_t bytes = strlen(prefix);
    memcpy(end.s, prefix, bytes);
    end.s[bytes - 1]++;
    return end;
}

static struct status sqlite_range(struct meta *m, const char *prefix, meta_visit_fn *visit,
                                  void *ctx)
{
    CLEANUP(statement_reset) sqlite3_stmt *s = sqlite_of(m)->statements[STMT_RANGE];
    const struct meta_key end = range_end(prefix);
    bool row;

    TRY(bind_text(s, 1, prefix));
    TRY(bind_text(s, 2, end.s));
    for (;;) {
        TRY(step(s, &row));
        if (!row)
            return STATUS(OK);
        const struct meta_item item = {
            .key = (const char *)sqlite3_column_text(s, 0),
            .value = { sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1) },
            .revision = (uint64_t)sqlite3_column_int64(s, 2),
        };
        TRY(visit(ctx, &item));
    }
}

/* ---- Committing ---- */

static struct status compare(struct meta_sqlite *sq, const struct meta_compare *c)
{
    CLEANUP(statement_reset) sqlite3_stmt *s = sq->statements[STMT_REVISION_OF];
    bool row;

    TRY(bind_text(s, 1, c->key.s));
    TRY(step(s, &row));
    const uint64_t revision = row ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    return revision == c->revision ? STATUS(OK) : STATUS(CONFLICT);
}

static struct status change(struct meta_sqlite *sq, const struct meta_change *c)
{
    CLEANUP(statement_reset)
    sqlite3_stmt *s = sq->statements[c->remove ? STMT_REMOVE : STMT_PUT];
    bool row;

    TRY(bind_text(s, 1, c->key.s));
    if (!c->remove) {
        TRY(status_from_sqlite(sqlite3_bind_blob64(s, 2, c->data, c->bytes, SQLITE_STATIC)));
        TRY(bind_u64(s, 3, sq->meta.revision + 1));
        TRY(bind_u64(s, 4, c->lease));
    }
    return step(s, &row);
}

static struct status set_revision(struct meta_sqlite *sq, uint64_t revision)
{
    CLEANUP(statement_reset) sqlite3_stmt *s = sq->statements[STMT_SET_REVISION];
    bool row;

    TRY(bind_u64(s, 1, revision));
    return step(s, &row);
}

static struct status apply(struct meta_sqlite *sq, const struct meta_txn *txn)
{
    for (unsigned i = 0; i < txn->compare_count; i++)
        TRY(compare(sq, &txn->compares[i]));
    for (unsigned i = 0; i < txn->change_count; i++)
        TRY(change(sq, &txn->changes[i]));
    TRY(set_revision(sq, sq->meta.revision + 1));
    return run(sq, STMT_COMMIT);
}

static struct status sqlite_commit(struct meta *m, const struct meta_txn *txn)
{
    struct meta_sqlite *sq = sqlite_of(m);

    TRY(run(sq, STMT_BEGIN));
    const struct status st = apply(sq, txn);
    /* Some failures have rolled back already: then this one fails, and that is fine. */
    if (!status_ok(st) && sqlite3_get_autocommit(sq->db) == 0)
        (void)status_ok(run(sq, STMT_ROLLBACK));
    return st;
}

static uint64_t sqlite_now_ns(struct meta *m)
{
    struct timespec now;
    (void)m;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void sqlite_close(struct meta *m)
{
    struct meta_sqlite *sq = sqlite_of(m);
    meta_fini(m);
    for (unsigned i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(sq->statements[i]);
    sqlite3_close(sq->db);
    free(sq);
}

static const struct meta_ops sqlite_ops = {
    .get = sqlite_get,
    .range = sqlite_range,
    .commit = sqlite_commit,
    .now_ns = sqlite_now_ns,
    .close = sqlite_close,
};

/* ---- Opening ---- */

static struct status exec(struct meta_sqlite *sq, const char *sql)
{
    return status_from_sqlite(sqlite3_exec(sq->db, sql, NULL, NULL, NULL));
}

static void statement_free(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
}

/* The one value of a query that has one row. */
static struct status query_u64(struct meta_sqlite *sq, const char *sql, uint64_t *out_value)
{
    CLEANUP(statement_free) sqlite3_stmt *s = NULL;
    bool row;

    TRY(status_from_sqlite(sqlite3_prepare_v2(sq->db, sql, -1, &s, NULL)));
    TRY(step(s, &row));
    if (!row)
        return STATUS(CORRUPT);
    *out_value = (uint64_t)sqlite3_column_int64(s, 0);
    return STATUS(OK);
}

/* SQLite's own check of every page and index; what it says first goes into problem. */
static struct status check_integrity(struct meta_sqlite *sq, char problem[META_PROBLEM_BYTES])
{
    CLEANUP(statement_free) sqlite3_stmt *s = NULL;
    bool row;

    TRY(status_from_sqlite(sqlite3_prepare_v2(sq->db, "PRAGMA integrity_check(1)", -1, &s, NULL)));
    TRY(step(s, &row));
    const char *text = row ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (text != NULL && strcmp(text, "ok") == 0)
        return STATUS(OK);
    snprintf(problem, META_PROBLEM_BYTES, "%.200s", text != NULL ? text : "no answer");
    return STATUS(CORRUPT);
}

static struct status create_schema(struct meta_sqlite *sq)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "BEGIN EXCLUSIVE;"
             "CREATE TABLE kv(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,"
             " revision INTEGER NOT NULL, lease INTEGER NOT NULL) WITHOUT ROWID;"
             "CREATE TABLE state(id INTEGER PRIMARY KEY, revision INTEGER NOT NULL);"
             "INSERT INTO state VALUES(0, 0);"
             "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
             APPLICATION_ID, SCHEMA_VERSION);
    return exec(sq, sql);
}

/* Whose database it is, and of which version; creates the schema in an empty one. */
static struct status check_schema(struct meta_sqlite *sq, char problem[META_PROBLEM_BYTES])
{
    uint64_t application = 0;
    uint64_t version = 0;
    uint64_t tables = 0;

    TRY(query_u64(sq, "PRAGMA application_id", &application));
    TRY(query_u64(sq, "PRAGMA user_version", &version));
    TRY(query_u64(sq, "SELECT count(*) FROM sqlite_schema", &tables));
    if (application == 0 && version == 0 && tables == 0)
        return create_schema(sq);
    if (application != APPLICATION_ID) {
        snprintf(problem, META_PROBLEM_BYTES, "it is another program's database");
        return STATUS(FOREIGN);
    }
    if (version != SCHEMA_VERSION) {
        snprintf(problem, META_PROBLEM_BYTES, "its schema has version %llu, this program knows %d",
                 (unsigned long long)version, SCHEMA_VERSION);
        return STATUS(BAD_VERSION);
    }
    return STATUS(OK);
}

static struct status prepare_all(struct meta_sqlite *sq)
{
    for (unsigned i = 0; i < STMT_COUNT; i++)
        TRY(status_from_sqlite(sqlite3_prepare_v3(
            sq->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT, &sq->statements[i], NULL)));
    return STATUS(OK);
}

/* One that has lost its WAL is as it was at its last checkpoint: empty, if there was none. */
static struct status check_not_empty(struct meta_sqlite *sq, char problem[META_PROBLEM_BYTES])
{
    uint64_t tables = 0;

    TRY(query_u64(sq, "SELECT count(*) FROM sqlite_schema", &tables));
    if (tables > 0)
        return STATUS(OK);
    snprintf(problem, META_PROBLEM_BYTES, "it is empty, though nodes have joined its cluster");
    return STATUS(NOT_FOUND);
}

static struct status open_database(struct meta_sqlite *sq, const char *path, bool may_be_new,
                                   char problem[META_PROBLEM_BYTES])
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    const int create = may_be_new ? SQLITE_OPEN_CREATE : 0;

    TRY(status_from_sqlite(sqlite3_open_v2(path, &sq->db, flags | create, NULL)));
    if (!may_be_new) {
        TRY(exec(sq, "PRAGMA locking_mode = EXCLUSIVE"));
        TRY(check_not_empty(sq, problem));
    }
    TRY(exec(sq, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                 "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON"));
    TRY(check_integrity(sq, problem));
    TRY(check_schema(sq, problem));
    /* Takes the lock now, and ends the leases of the last run with their keys. */
    TRY(exec(sq, "BEGIN EXCLUSIVE; DELETE FROM kv WHERE lease <> 0; COMMIT"));
    TRY(query_u64(sq, "SELECT revision FROM state WHERE id = 0", &sq->meta.revision));
    return prepare_all(sq);
}

static void explain(struct meta_sqlite *sq, struct status st, const char *path,
                    char problem[META_PROBLEM_BYTES])
{
    char why[META_PROBLEM_BYTES];
    const char *advice = "";

    snprintf(why, sizeof why, "%s", problem[0] != '\0' ? problem : sqlite3_errmsg(sq->db));
    if (status_is(st, STATUS_BUSY))
        advice = "; another process has it open: stop that one";
    else if (status_is(st, STATUS_CORRUPT))
        advice = "; put back a copy of its last state";
    else if (status_is(st, STATUS_NOT_FOUND) && problem[0] != '\0')
        advice = "; put it back with its '-wal', or use another directory for a new "
                 "cluster";
    snprintf(problem, META_PROBLEM_BYTES, "meta store '%.80s': %.80s%s", path, why, advice);
}

static struct status open_at(const char *path, bool may_be_new, char problem[META_PROBLEM_BYTES],
                             struct meta **out_meta)
{
    struct meta_sqlite *sq = calloc(1, sizeof *sq);

    problem[0] = '\0';
    if (sq == NULL)
        return STATUS(NO_MEMORY);
    meta_init(&sq->meta, &sqlite_ops);
    const struct status st = open_database(sq, path, may_be_new, problem);
    if (!status_ok(st)) {
        explain(sq, st, path, problem);
        sqlite_close(&sq->meta);
        return st;
    }
    *out_meta = &sq->meta;
    return STATUS(OK);
}

struct status meta_sqlite_open(const char *path, char problem[META_PROBLEM_BYTES],
                               struct meta **out_meta)
{
    return open_at(path, true, problem, out_meta);
}

struct status meta_sqlite_reopen(const char *path, char problem[META_PROBLEM_BYTES],
                                 struct meta **out_meta)
{
    return open_at(path, false, problem, out_meta);
}
