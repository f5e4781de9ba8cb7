/* SPDX-License-Identifier: Apache-2.0 */
/* Verifications of a volume, as they are wanted of its node by their numbers. */
#include "node_fixture.h"

static struct fixture *begin(void)
{
    struct fixture *f = fixture_create();

    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    return f;
}

static void end(struct fixture *f)
{
    stop(f);
    fixture_destroy(f);
}

static void want(struct fixture *f, uint64_t id, uint64_t bytes_per_s)
{
    f->volumes[0].verification = id;
    f->volumes[0].verification_bytes_per_s = bytes_per_s;
    at_home(f, apply);
}

static const struct node_verification *reported(struct fixture *f)
{
    at_home(f, get_report);
    return f->report.volumes[0].verification;
}

static const struct node_verification *wait_for_end(struct fixture *f)
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    const struct node_verification *v = reported(f);

    while ((v == NULL || !v->ended) && sim_world_now_ns(f->world) < limit) {
        sim_world_run(f->world, 10 * NS_PER_MS);
        v = reported(f);
    }
    assert_non_null(v);
    assert_true(v->ended);
    return v;
}

/* Once for each number; what was found is told until another one is wanted. */
static void once_for_each_number(void **state)
{
    (void)state;
    struct fixture *f = begin();
    assert_null(reported(f));
    want(f, 7, 0);
    const struct node_verification *v = wait_for_end(f);
    assert_int_equal(v->id, 7);
    assert_int_equal(v->status.code, STATUS_OK);
    assert_true(volume_verify_is_good(&v->result));
    assert_int_equal(v->result.done_bytes, f->volumes[0].volume.bytes);
    want(f, 7, 0);
    assert_true(reported(f)->ended);
    want(f, 8, 0);
    assert_int_equal(wait_for_end(f)->id, 8);
    want(f, 0, 0);
    assert_null(reported(f));
    end(f);
}

/* One that is not wanted any more is stopped, and the next one begins when it has ended. */
static void another_one_takes_its_place(void **state)
{
    (void)state;
    struct fixture *f = begin();
    want(f, 1, 0);
    assert_false(reported(f)->ended); /* Some steps of the world: it has hundreds to take. */
    want(f, 2, 0);
    assert_false(reported(f) != NULL && reported(f)->ended);
    assert_int_equal(wait_for_end(f)->id, 2);
    assert_int_equal(reported(f)->status.code, STATUS_OK);
    want(f, 3, 0);
    want(f, 0, 0);
    sim_world_run(f->world, NS_PER_S);
    assert_null(reported(f));
    end(f);
}

/* A volume that is closed under it, or a node that stops, does not wait for it. */
static void it_ends_with_the_volume(void **state)
{
    (void)state;
    struct fixture *f = begin();
    want(f, 1, 0);
    assert_false(reported(f)->ended);
    f->desired.volume_count = 0;
    at_home(f, apply);
    sim_world_run(f->world, NS_PER_S);
    at_home(f, get_report);
    assert_int_equal(f->report.volume_count, 0);
    f->desired.volume_count = 1;
    want(f, 2, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    (void)wait_for_end(f);
    want(f, 3, 0);
    assert_false(reported(f)->ended);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_for_each_number),
        cmocka_unit_test(another_one_takes_its_place),
        cmocka_unit_test(it_ends_with_the_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
