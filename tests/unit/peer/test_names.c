/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NODE "4f1c9e0a-4f0e-4a53-9d0e-5c8a3c1d7b11"

static void a_node_has_a_name_as_a_host_and_one_for_its_stores(void **state)
{
    (void)state;
    struct uuid node, found;

    assert_true(status_ok(uuid_parse(NODE, &node)));
    assert_string_equal(peer_node_nqn(node).s, "nqn.2026-01.io.trilith:node:" NODE);
    assert_string_equal(peer_store_nqn(node).s, "nqn.2026-01.io.trilith:store:" NODE);
    assert_true(nqn_is_valid(peer_node_nqn(node).s));
    assert_true(nqn_is_valid(peer_store_nqn(node).s));
    assert_true(status_ok(peer_node_parse(peer_node_nqn(node).s, &found)));
    assert_true(uuid_equal(node, found));
}

static void other_nqns_are_no_nodes(void **state)
{
    (void)state;
    static const char *const other[] = {
        "",
        NQN_DISCOVERY,
        PEER_NODE_NQN_PREFIX,
        PEER_STORE_NQN_PREFIX NODE,
        PEER_NODE_NQN_PREFIX "4F1C9E0A-4F0E-4A53-9D0E-5C8A3C1D7B11",
        PEER_NODE_NQN_PREFIX NODE "0",
        PEER_NODE_NQN_PREFIX "00000000-0000-0000-0000-000000000000",
    };
    struct uuid node;

    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_int_equal(peer_node_parse(other[i], &node).code, STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_has_a_name_as_a_host_and_one_for_its_stores),
        cmocka_unit_test(other_nqns_are_no_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
