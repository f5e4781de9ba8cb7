/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/backend.h"

/* Home, which the test runs by hand. */
struct home {
    struct reactor base;
    struct io_msg *posted;
};

static void home_post(struct reactor *r, struct io_msg *msg)
{
    CONTAINER_OF(r, struct home, base)->posted = msg;
}

static const struct reactor_ops home_ops = { .post = home_post };

static void count_call(void *ctx)
{
    unsigned *calls = ctx;

    (*calls)++;
}

/* Orders that are queued when the node stops touch it no more: by then it may be freed. */
static void a_node_that_stops_gets_no_orders(void **state)
{
    (void)state;
    static struct up_orders o;
    struct home home = { .base = { .ops = &home_ops } };
    unsigned calls = 0;
    const struct node_order orders[] = { { .id = 1, .kind = NODE_ORDER_REMOVE },
                                         { .id = 2, .kind = NODE_ORDER_REMOVE } };
    const struct node_desired desired = { .orders = orders, .order_count = 2 };
    o.home = &home.base;
    o.node = (struct node *)&home; /* Whoever reads it reads what is no node. */
    o.wake = count_call;
    o.changed = count_call;
    o.ctx = &calls;
    up_orders_take(&o, &desired);
    assert_int_equal(calls, 1);
    up_orders_run(&o);
    assert_non_null(home.posted);
    up_orders_stop(&o);
    home.posted->deliver(home.posted);
    assert_int_equal(o.result_count, 1);
    assert_int_equal(o.results[0].id, 1);
    assert_string_equal(o.results[0].problem, "the node is stopping");
    assert_int_equal(atomic_load(&o.turn), UP_ORDERS_IDLE);
    up_orders_take(&o, &desired);
    assert_int_equal(atomic_load(&o.turn), UP_ORDERS_IDLE);
    assert_int_equal(calls, 2); /* Of the result. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_stops_gets_no_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
