/* SPDX-License-Identifier: Apache-2.0 */
/* Links: they come up on every pair of reactors, are lost as a whole, and come back (2.1). */
#include "peer_world.h"

#include "peer/limits.h"

#define SOON_NS (50 * NS_PER_MS)

struct watcher {
    struct link_user user;
    bool up;
    unsigned ups, downs;
};

static void on_up(struct link_user *user)
{
    struct watcher *const t = CONTAINER_OF(user, struct watcher, user);

    assert_false(t->up);
    t->up = true;
    t->ups++;
}

static void on_down(struct link_user *user)
{
    struct watcher *const t = CONTAINER_OF(user, struct watcher, user);

    assert_true(t->up);
    t->up = false;
    t->downs++;
}

static void watch(struct watcher *t, struct link *link)
{
    *t = (struct watcher) { .user = { .up = on_up, .down = on_down } };
    link_watch(link, &t->user);
}

static void give_back(struct peer_world *w, struct watcher *t, struct link *link)
{
    link_unwatch(&t->user);
    pw_put(w, link);
}

/* All volumes of a node share it, and it has a queue for each pair of reactors. */
static void a_link_has_a_queue_for_each_pair(void **state)
{
    (void)state;
    struct peer_world *const w = peer_world_start(1, 3, 0);
    struct watcher t;
    struct link *const link = pw_link(w, 0);
    struct link *const same = pw_link(w, 0);

    assert_ptr_equal(link, same);
    watch(&t, link);
    pw_wait(w, &t.up);
    assert_int_equal(link_number(link), 1);
    assert_int_equal(w->stores[0].peer->opened, 1);
    for (unsigned e = 0; e < PW_ENGINE_REACTORS; e++) {
        const struct link_end *const end = link_end_of(link, e);
        assert_int_equal(end->queue_count, 3);
        for (unsigned i = 0; i < 3; i++) {
            assert_true(initiator_queue_is_ready(end->queues[i]));
            assert_true(initiator_queue_header_digest(end->queues[i]));
            assert_false(initiator_queue_data_digest(end->queues[i]));
        }
    }
    pw_put(w, same);
    pw_run(w, 10 * NS_PER_S); /* Nobody says anything, and it stays. */
    assert_true(link_is_up(link));
    give_back(w, &t, link);
    peer_world_stop(w);
}

/* One connection lost is the link lost, and all that is left of it ends before the next one. */
static void one_lost_connection_is_the_link_lost(void **state)
{
    (void)state;
    struct peer_world *const w = peer_world_start(1, 2, 1);
    struct watcher t, other;
    struct link *const link = pw_link(w, 0);

    watch(&t, link);
    watch(&other, link);
    for (unsigned turn = 0; turn < 4; turn++) {
        pw_wait(w, &t.up);
        pw_wait(w, &other.up);
        assert_int_equal(link_number(link), turn + 1);
        initiator_queue_stop(link_end_of(link, turn % 2)->queues[turn / 2]);
        pw_run(w, NS_PER_MS);
        assert_int_equal(t.downs, turn + 1);
        assert_int_equal(other.downs, turn + 1);
    }
    pw_wait(w, &t.up);
    pw_run(w, SOON_NS);
    assert_int_equal(w->stores[0].peer->opened, 5);
    assert_int_equal(w->stores[0].peer->closed, 4);
    struct link_stats stats;
    link_get_stats(link, &stats);
    assert_int_equal(stats.ups, 5);
    assert_int_equal(stats.losses, 4);
    link_unwatch(&other.user);
    give_back(w, &t, link);
    peer_world_stop(w);
}

/* A node that has vanished is missed, and sought with back-off for as long as somebody wants it. */
static void a_vanished_node_is_sought(void **state)
{
    (void)state;
    struct peer_world *const w = peer_world_start(1, 2, 2);
    struct watcher t;
    struct link *const link = pw_link(w, 0);
    struct link_stats stats;

    watch(&t, link);
    pw_wait(w, &t.up);
    pw_block(w, 0, true);
    pw_run(w, 3 * NS_PER_S);
    assert_int_equal(t.downs, 1);
    pw_run(w, 60 * NS_PER_S);
    link_get_stats(link, &stats);
    assert_in_range(stats.attempts, 20, 80); /* Not more often than once a second. */
    assert_int_equal(w->warnings, 1);        /* And nobody's log is filled. */
    pw_block(w, 0, false);
    pw_wait(w, &t.up);
    give_back(w, &t, link);
    peer_world_stop(w);
}

/* One that says no at once is asked less and less often. */
static void a_node_that_refuses_is_asked_seldom(void **state)
{
    (void)state;
    struct peer_world *const w = peer_world_start(1, 2, 3);
    struct link *link;
    struct link_stats stats;
    const struct uuid other = { { 0xbb } }; /* Not the one that has the address. */

    assert_int_equal(link_get(w->links, other, &w->stores[0].addr, &link).code, STATUS_OK);
    pw_run(w, 20 * NS_PER_S);
    link_get_stats(link, &stats);
    assert_in_range(stats.attempts, 20, 30);
    assert_int_equal(w->warnings, 1);
    pw_put(w, link);
    peer_world_stop(w);
}

/* Whoever gives back a link that is not up, at any moment, leaves nothing behind. */
static void a_link_may_be_given_back_at_any_moment(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 120; turn++) {
        struct peer_world *const w = peer_world_start(1, 2, turn);
        struct link *link = pw_link(w, 0);

        pw_run(w, turn * UINT64_C(20000));
        pw_put(w, link);
        if (turn % 3 == 0) { /* And asks for it anew. */
            struct watcher t;
            link = pw_link(w, 0);
            watch(&t, link);
            pw_wait(w, &t.up);
            give_back(w, &t, link);
        }
        peer_world_stop(w);
    }
}

/* A cut at any moment of coming up costs an attempt. */
static void a_cut_at_any_moment_costs_an_attempt(void **state)
{
    (void)state;
    unsigned before = 0;

    for (unsigned turn = 0; turn < 120; turn++) {
        struct peer_world *const w = peer_world_start(1, 3, turn);
        struct watcher t;
        struct link *const link = pw_link(w, 0);

        watch(&t, link);
        pw_run(w, turn * UINT64_C(20000));
        before += t.up ? 0 : 1;
        pw_cut(w, 0);
        pw_run(w, NS_PER_MS);
        pw_wait(w, &t.up);
        assert_int_equal(t.ups, t.downs + 1);
        give_back(w, &t, link);
        peer_world_stop(w);
    }
    assert_in_range(before, 20, 100); /* So the moments lay around the right ones. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_has_a_queue_for_each_pair),
        cmocka_unit_test(one_lost_connection_is_the_link_lost),
        cmocka_unit_test(a_vanished_node_is_sought),
        cmocka_unit_test(a_node_that_refuses_is_asked_seldom),
        cmocka_unit_test(a_link_may_be_given_back_at_any_moment),
        cmocka_unit_test(a_cut_at_any_moment_costs_an_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
