/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links without memory: the call that needed it fails, or the link is tried again, and comes up
 * when there is some.
 */
#include "../unit/peer/peer_world.h"

#include "fault.h"

struct watcher {
    struct link_user user;
    bool up;
};

static void on_up(struct link_user *user)
{
    CONTAINER_OF(user, struct watcher, user)->up = true;
}

static void on_down(struct link_user *user)
{
    CONTAINER_OF(user, struct watcher, user)->up = false;
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
    peer_world_stop(w);
}

static void create_scenario(void)
{
    struct peer_world *const w = peer_world_start(1, 2, 1);
    const struct links_config config = { .reactors = w->reactors,
                                         .reactor_count = PW_ENGINE_REACTORS,
                                         .node = { { 0xe2 } },
                                         .log = &w->log };
    struct links *links = NULL;

    fault_begin();
    const struct status st = links_create(&config, &links);
    fault_end();
    assert_int_equal(st.code, fault_happened() ? STATUS_NO_MEMORY : STATUS_OK);
    if (status_ok(st))
        links_destroy(links);
    peer_world_stop(w);
}

/* What cannot be made leaves nothing behind. */
static void links_may_have_no_memory(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, create_scenario);
}

static void connect_scenario(void)
{
    struct peer_world *const w = peer_world_start(1, 2, 1);
    struct link *link = NULL;
    struct watcher t;

    fault_begin();
    const struct status st = link_get(w->links, w->stores[0].node, &w->stores[0].addr, &link);
    pw_run(w, 3 * NS_PER_S);
    fault_end();
    if (!status_ok(st)) {
        assert_true(fault_happened());
        peer_world_stop(w);
        return;
    }
    watch(&t, link);
    t.up = link_is_up(link);
    pw_wait(w, &t.up);
    give_back(w, &t, link);
}

/* Whatever is missing while it connects, on either side, it comes up at last. */
static void a_link_comes_up_when_there_is_memory(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, connect_scenario);
}

static void reconnect_scenario(void)
{
    struct peer_world *const w = peer_world_start(1, 2, 1);
    struct link *const link = pw_link(w, 0);
    struct watcher t;

    watch(&t, link);
    pw_wait(w, &t.up);
    fault_begin();
    pw_cut(w, 0);
    pw_run(w, 3 * NS_PER_S);
    fault_end();
    pw_wait(w, &t.up);
    give_back(w, &t, link);
}

static void a_lost_link_comes_back_when_there_is_memory(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, reconnect_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_may_have_no_memory),
        cmocka_unit_test(a_link_comes_up_when_there_is_memory),
        cmocka_unit_test(a_lost_link_comes_back_when_there_is_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
