/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite of the meta store: every test runs against every backend. */
#include "meta/meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NS_PER_MS UINT64_C(1000000)

struct backend {
    const char *name;
    struct status (*open)(struct backend *b, struct meta **out_meta);
    void (*pass_ms)(struct meta *m, unsigned ms);
    bool durable;
    char dir[64];
};

struct fixture {
    struct backend *backend;
    struct meta *m;
};

static struct status sqlite_open(struct backend *b, struct meta **out_meta)
{
    char path[80];
    char problem[META_PROBLEM_BYTES];
    snprintf(path, sizeof path, "%s/meta.db", b->dir);
    return meta_sqlite_open(path, problem, out_meta);
}

static void sqlite_pass(struct meta *m, unsigned ms)
{
    (void)m;
    const struct timespec t = { .tv_nsec = (long)(ms * NS_PER_MS) };
    nanosleep(&t, NULL);
}

static struct status sim_open(struct backend *b, struct meta **out_meta)
{
    (void)b;
    return meta_sim_open(out_meta);
}

static void sim_pass(struct meta *m, unsigned ms)
{
    meta_sim_advance(m, ms * NS_PER_MS);
}

static void must(struct status st)
{
    assert_string_equal(status_name(st), "OK");
}

static void must_be(struct status st, enum status_code code)
{
    assert_string_equal(status_name(st), status_name((struct status) { code }));
}

static struct backend backends[] = {
    { .name = "sim", .open = sim_open, .pass_ms = sim_pass },
    { .name = "sqlite", .open = sqlite_open, .pass_ms = sqlite_pass, .durable = true },
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->backend = *state;
    snprintf(f->backend->dir, sizeof f->backend->dir, "/tmp/trilith-meta.XXXXXX");
    assert_non_null(mkdtemp(f->backend->dir));
    must(f->backend->open(f->backend, &f->m));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char path[96];
    meta_close(f->m);
    static const char *const names[] = { "meta.db", "meta.db-wal", "meta.db-shm" };
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->backend->dir, names[i]);
        unlink(path);
    }
    rmdir(f->backend->dir);
    free(f);
    return 0;
}

static struct const_span text(const char *s)
{
    return (struct const_span) { (const uint8_t *)s, strlen(s) };
}

static uint64_t put(struct meta *m, const char *key, const char *value)
{
    struct meta_txn txn;
    uint64_t revision = 0;
    meta_txn_init(&txn);
    meta_txn_put(&txn, key, text(value));
    must(meta_commit(m, &txn, &revision));
    meta_txn_fini(&txn);
    return revision;
}

static void check_value(struct meta *m, const char *key, const char *value)
{
    struct meta_value got;
    must(meta_get(m, key, &got));
    assert_int_equal(got.bytes, strlen(value));
    assert_memory_equal(got.data, value, got.bytes);
    meta_value_free(&got);
}

static void check_absent(struct meta *m, const char *key)
{
    struct meta_value got;
    must_be(meta_get(m, key, &got), STATUS_NOT_FOUND);
}

/* What is put is got, each commit has the next revision, and the key remembers its own. */
static void values_and_revisions(void **state)
{
    struct meta *m = ((struct fixture *)*state)->m;
    struct meta_value got;

    assert_int_equal(put(m, "a", "one"), 1);
    assert_int_equal(put(m, "b", ""), 2);
    assert_int_equal(put(m, "c", "three"), 3);
    assert_int_equal(put(m, "a", "uno"), 4);
    check_value(m, "a", "uno");
    check_value(m, "b", "");
    check_absent(m, "d");
    must(meta_get(m, "a", &got));
    assert_int_equal(got.revision, 4);
    meta_value_free(&got);
    assert_int_equal(meta_revision(m), 4);
}

struct seen {
    char keys[256];
    uint64_t last_revision;
    unsigned stop_after;
    unsigned count;
};

static struct status see(void *ctx, const struct meta_item *item)
{
    struct seen *s = ctx;
    const size_t at = strlen(s->keys);
    snprintf(s->keys + at, sizeof s->keys - at, "%s=%.*s ", item->key, (int)item->value.bytes,
             (const char *)item->value.at);
    s->last_revision = item->revision;
    s->count++;
    return s->count == s->stop_after ? STATUS(CANCELED) : STATUS(OK);
}

/* A walk shows exactly the keys with the prefix, in order, until the visitor ends it. */
static void ranges(void **state)
{
    struct meta *m = ((struct fixture *)*state)->m;
    struct seen seen = { "" };
    struct seen two = { .stop_after = 2 };
    uint64_t revision = 0;

    put(m, "v/b", "2");
    put(m, "v/a", "1");
    put(m, "u/z", "0");
    put(m, "v", "no");
    put(m, "v/c", "3");
    put(m, "v0", "no");
    must(meta_range(m, "v/", see, &seen, &revision));
    assert_string_equal(seen.keys, "v/a=1 v/b=2 v/c=3 ");
    assert_int_equal(seen.last_revision, 5);
    assert_int_equal(revision, 6);
    must_be(meta_range(m, "v/", see, &two, NULL), STATUS_CANCELED);
    assert_string_equal(two.keys, "v/a=1 v/b=2 ");
}

/* A transaction whose compare fails changes nothing; one whose compares hold is applied whole. */
static void compare_and_swap(void **state)
{
    struct meta *m = ((struct fixture *)*state)->m;
    struct meta_txn txn;

    const uint64_t first = put(m, "a", "1");
    meta_txn_init(&txn);
    meta_txn_put(&txn, "b", text("2"));
    meta_txn_remove(&txn, "a");
    meta_txn_expect(&txn, "a", first + 1);
    must_be(meta_commit(m, &txn, NULL), STATUS_CONFLICT);
    meta_txn_fini(&txn);
    check_value(m, "a", "1");
    check_absent(m, "b");
    assert_int_equal(meta_revision(m), first);

    meta_txn_init(&txn);
    meta_txn_expect(&txn, "a", first);
    meta_txn_expect(&txn, "b", 0);
    meta_txn_put(&txn, "b", text("2"));
    meta_txn_remove(&txn, "a");
    must(meta_commit(m, &txn, NULL));
    meta_txn_fini(&txn);
    check_absent(m, "a");
    check_value(m, "b", "2");

    /* Absence is compared too: it is there now. */
    meta_txn_init(&txn);
    meta_txn_expect(&txn, "b", 0);
    meta_txn_put(&txn, "c", text("3"));
    must_be(meta_commit(m, &txn, NULL), STATUS_CONFLICT);
    meta_txn_fini(&txn);
    check_absent(m, "c");
}

struct racer {
    unsigned builds;
    unsigned races;
};

static struct status increment(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct racer *r = ctx;
    struct meta_value got;
    char next[8];

    r->builds++;
    TRY(meta_get(m, "n", &got));
    snprintf(next, sizeof next, "%c", got.data[0] + 1);
    meta_txn_expect(txn, "n", got.revision);
    meta_value_free(&got);
    /* Somebody else is faster. */
    if (r->races > 0) {
        r->races--;
        put(m, "n", "5");
    }
    meta_txn_put(txn, "n", text(next));
    return STATUS(OK);
}

/* An optimistic transaction is built again until nobody interferes, and not for ever. */
static void retries(void **state)
{
    struct meta *m = ((struct fixture *)*state)->m;
    struct racer r = { .races = 3 };
    struct racer forever = { .races = UINT32_MAX };

    put(m, "n", "1");
    must(meta_transact(m, increment, &r, NULL));
    assert_int_equal(r.builds, 4);
    check_value(m, "n", "6");
    must_be(meta_transact(m, increment, &forever, NULL), STATUS_CONFLICT);
    assert_int_equal(forever.builds, META_TRIES_MAX);
    check_value(m, "n", "5");
}

/* Keys and values at their limits are taken, above them refused, and so are too many of them. */
static void limits(void **state)
{
    struct meta *m = ((struct fixture *)*state)->m;
    struct meta_txn txn;
    struct meta_value got;
    char key[META_KEY_BYTES_MAX + 2];
    uint8_t *big = malloc(META_VALUE_BYTES_MAX + 1);

    memset(key, 'k', sizeof key);
    memset(big, 7, META_VALUE_BYTES_MAX + 1);
    key[META_KEY_BYTES_MAX] = '\0';
    meta_txn_init(&txn);
    meta_txn_put(&txn, key, (struct const_span) { big, META_VALUE_BYTES_MAX });
    must(meta_commit(m, &txn, NULL));
    meta_txn_fini(&txn);
    must(meta_get(m, key, &got));
    assert_int_equal(got.bytes, META_VALUE_BYTES_MAX);
    meta_value_free(&got);

    meta_txn_put(&txn, "k", (struct const_span) { big, META_VALUE_BYTES_MAX + 1 });
    must_be(meta_commit(m, &txn, NULL), STATUS_LIMIT);
    meta_txn_fini(&txn);
    free(big);

    key[META_KEY_BYTES_MAX] = 'k';
    key[META_KEY_BYTES_MAX + 1] = '\0';
    must_be(meta_get(m, key, &got), STATUS_INVALID);
    must_be(meta_get(m, "", &got), STATUS_INVALID);
    must_be(meta_get(m, "a b", &got), STATUS_INVALID);

    for (unsigned i = 0; i <= META_TXN_CHANGES_MAX; i++)
        meta_txn_remove(&txn, "x");
    must_be(meta_commit(m, &txn, NULL), STATUS_LIMIT);
    meta_txn_fini(&txn);
}

struct watcher {
    struct meta_watch watch;
    char seen[256];
    struct meta *m;
};

static void on_change(struct meta_watch *watch, const char *key, uint64_t revision)
{
    struct watcher *w = CONTAINER_OF(watch, struct watcher, watch);
    const size_t at = strlen(w->seen);
    snprintf(w->seen + at, sizeof w->seen - at, "%s@%llu ", key, (unsigned long long)revision);
    if (w->m != NULL && strcmp(key, "w/a") == 0)
        put(w->m, "w/again", "x");
}

/* A watch shows every change under its prefix once, in order, from dispatch only; and may commit.
 */
static void watches(void **state)
{
    struct meta *m = ((struct fixture *)*state)->m;
    struct watcher w = { .watch = { on_change, "w/" }, .m = m };
    struct meta_txn txn;
    uint64_t next_ns;

    meta_watch_add(m, &w.watch);
    put(m, "w/a", "1");
    put(m, "x", "1");
    meta_txn_init(&txn);
    meta_txn_remove(&txn, "w/a");
    meta_txn_expect(&txn, "w/a", 99);
    must_be(meta_commit(m, &txn, NULL), STATUS_CONFLICT);
    meta_txn_fini(&txn);
    put(m, "w/b", "1");
    assert_string_equal(w.seen, "");
    must(meta_dispatch(m, &next_ns));
    assert_string_equal(w.seen, "w/a@1 w/b@3 w/again@4 ");
    assert_true(next_ns == UINT64_MAX);

    w.seen[0] = '\0';
    meta_watch_remove(&w.watch);
    put(m, "w/c", "1");
    must(meta_dispatch(m, &next_ns));
    assert_string_equal(w.seen, "");
}

static void put_leased(struct meta *m, const char *key, uint64_t lease)
{
    struct meta_txn txn;
    meta_txn_init(&txn);
    meta_txn_put_leased(&txn, key, text("1"), lease);
    must(meta_commit(m, &txn, NULL));
    meta_txn_fini(&txn);
}

/* A key goes with its lease, unless it was put anew; a lease that is renewed lives on. */
static void leases(void **state)
{
    const struct fixture *f = *state;
    struct meta *m = f->m;
    uint64_t shorter, longer, next_ns;
    struct meta_txn txn;

    must(meta_lease_grant(m, 500 * NS_PER_MS, &shorter));
    must(meta_lease_grant(m, 60000 * NS_PER_MS, &longer));
    put_leased(m, "l/short", shorter);
    put_leased(m, "l/kept", shorter);
    put_leased(m, "l/long", longer);
    put(m, "l/kept", "2");
    must(meta_dispatch(m, &next_ns));
    assert_true(next_ns <= 500 * NS_PER_MS);
    check_value(m, "l/short", "1");

    f->backend->pass_ms(m, 550);
    must_be(meta_lease_renew(m, shorter), STATUS_NOT_FOUND);
    must(meta_lease_renew(m, longer));
    must(meta_dispatch(m, &next_ns));
    check_absent(m, "l/short");
    check_value(m, "l/kept", "2");
    check_value(m, "l/long", "1");

    must(meta_lease_revoke(m, longer));
    check_absent(m, "l/long");
    must_be(meta_lease_revoke(m, longer), STATUS_NOT_FOUND);
    meta_txn_init(&txn);
    meta_txn_put_leased(&txn, "l/x", text("1"), longer);
    must_be(meta_commit(m, &txn, NULL), STATUS_NOT_FOUND);
    meta_txn_fini(&txn);
}

/* A durable store has everything after it was opened again, but for leased keys. */
static void reopening(void **state)
{
    struct fixture *f = *state;
    uint64_t lease;

    if (!f->backend->durable)
        return; /* Nothing is promised. */
    put(f->m, "a", "1");
    must(meta_lease_grant(f->m, 60000 * NS_PER_MS, &lease));
    put_leased(f->m, "l", lease);
    meta_close(f->m);
    must(f->backend->open(f->backend, &f->m));
    check_value(f->m, "a", "1");
    check_absent(f->m, "l");
    assert_int_equal(put(f->m, "b", "2"), 3);
}

#define BOTH(test)                                            \
    { "sim: " #test, test, setup, teardown, &backends[0] },   \
    {                                                         \
        "sqlite: " #test, test, setup, teardown, &backends[1] \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(values_and_revisions),
        BOTH(ranges),
        BOTH(compare_and_swap),
        BOTH(retries),
        BOTH(limits),
        BOTH(watches),
        BOTH(leases),
        BOTH(reopening),
    };
    return cmocka_run_group_tests_name("meta", tests, NULL, NULL);
}
