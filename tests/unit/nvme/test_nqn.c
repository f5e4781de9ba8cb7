/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/nqn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A name of count characters 'a'. */
static struct nqn_text long_name(size_t count)
{
    struct nqn_text text = { { 0 } };
    memset(text.s, 'a', count);
    return text;
}

static void a_volume_name_becomes_an_nqn_and_back(void **state)
{
    (void)state;
    struct nqn_text nqn;
    struct volume_name name;

    assert_true(status_ok(nqn_for_volume("db-1.prod", &nqn)));
    assert_string_equal(nqn.s, "nqn.2026-01.io.trilith:volume:db-1.prod");
    assert_true(nqn_is_valid(nqn.s));
    assert_true(status_ok(nqn_parse_volume(nqn.s, &name)));
    assert_string_equal(name.s, "db-1.prod");
}

static void names_outside_the_rule_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "-a", ".a", "A", "a b", "a_b", "a/b", "a:b", "\xc3\xa4"
    };
    struct nqn_text nqn;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(nqn_for_volume(bad[i], &nqn).code, STATUS_INVALID);
    assert_true(volume_name_is_valid(long_name(63).s));
    assert_false(volume_name_is_valid(long_name(64).s));
}

static void other_nqns_are_not_volumes(void **state)
{
    (void)state;
    static const char *const other[] = { NQN_DISCOVERY, "", NQN_VOLUME_PREFIX,
                                         NQN_VOLUME_PREFIX "A", "nqn.2026-01.io.trilith:store:a" };
    struct volume_name name;

    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_int_equal(nqn_parse_volume(other[i], &name).code, STATUS_NOT_FOUND);
}

static void the_form_of_an_nqn_is_checked(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "nqn",
                                       "nqn.2014-08.",
                                       "nqn.2014-8.org.example",
                                       "iqn.2014-08.org.example",
                                       "nqn.2014-08.org example",
                                       "nqn.2014-08.org.\x7f" };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(nqn_is_valid(bad[i]));
    assert_true(nqn_is_valid(NQN_DISCOVERY));
    assert_true(
        nqn_is_valid("nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555"));

    char longest[NQN_TEXT_BYTES + 1] = "nqn.2014-08.";
    memset(longest + strlen(longest), 'x', NQN_BYTES_MAX - strlen(longest));
    assert_int_equal(strlen(longest), 223);
    assert_true(nqn_is_valid(longest));
    longest[223] = 'x';
    assert_false(nqn_is_valid(longest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_name_becomes_an_nqn_and_back),
        cmocka_unit_test(names_outside_the_rule_are_refused),
        cmocka_unit_test(other_nqns_are_not_volumes),
        cmocka_unit_test(the_form_of_an_nqn_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
