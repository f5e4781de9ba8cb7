/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int number;
    struct list_node link;
};

static int pop_number(struct list *l)
{
    struct list_node *n = list_pop_front(l);
    return n == NULL ? -1 : CONTAINER_OF(n, struct item, link)->number;
}

/* Nodes come out in the order they were pushed, and know whether they are in a list. */
static void order_and_membership(void **state)
{
    (void)state;
    struct list l;
    struct item items[3];
    list_init(&l);
    for (int i = 0; i < 3; i++) {
        items[i].number = i;
        list_node_init(&items[i].link);
    }
    list_push_back(&l, &items[1].link);
    list_push_back(&l, &items[2].link);
    list_push_front(&l, &items[0].link);
    list_remove(&items[1].link);
    assert_false(list_node_linked(&items[1].link));
    list_remove(&items[1].link); /* Again: nothing happens. */
    assert_int_equal(pop_number(&l), 0);
    assert_int_equal(pop_number(&l), 2);
    assert_int_equal(pop_number(&l), -1);
}

/* Splicing appends in order and empties the source; the loop survives removal of its node. */
static void splice_and_removal_in_the_loop(void **state)
{
    (void)state;
    struct list a;
    struct list b;
    struct item items[4];
    list_init(&a);
    list_init(&b);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_node_init(&items[i].link);
        list_push_back(i < 2 ? &a : &b, &items[i].link);
    }
    list_splice_back(&a, &b);
    assert_true(list_empty(&b));
    list_splice_back(&a, &b); /* An empty source changes nothing. */
    int expected = 0;
    LIST_FOR_EACH (n, &a) {
        assert_int_equal(CONTAINER_OF(n, struct item, link)->number, expected++);
        list_remove(n);
    }
    assert_int_equal(expected, 4);
    assert_true(list_empty(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_membership),
        cmocka_unit_test(splice_and_removal_in_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
