/* SPDX-License-Identifier: Apache-2.0 */
#include "io/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"

/* Every accepted form of an address parses and prints in its one canonical form. */
static void forms(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *out;
        const char *ip;
    } rows[] = {
        { "192.0.2.1", "192.0.2.1:4420", "192.0.2.1" },
        { "192.0.2.1:80", "192.0.2.1:80", "192.0.2.1" },
        { "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0" },
        { "::1", "[::1]:4420", "::1" },
        { "[::1]", "[::1]:4420", "::1" },
        { "[2001:DB8::7]:65535", "[2001:db8::7]:65535", "2001:db8::7" },
        { "[fe80::1%3]:9", "[fe80::1%3]:9", "fe80::1%3" },
        { "fe80::1%4294967295", "[fe80::1%4294967295]:4420", "fe80::1%4294967295" },
        { "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:4420", "::ffff:192.0.2.1" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct io_addr addr;
        assert_true(status_ok(io_addr_parse(rows[i].in, 4420, &addr)));
        assert_string_equal(io_addr_format(&addr).s, rows[i].out);
        assert_string_equal(io_addr_format_ip(&addr).s, rows[i].ip);
    }
}

/* What is no address is INVALID and leaves the output alone. */
static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "localhost",
        "192.0.2",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "1.2.3.4:",
        "1.2.3.4:a",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[1.2.3.4]",
        "::1%",
        "[::1]:-1",
        "1.2.3.4:80 ",
        ":80",
        ":::",
        "1.2.3.4%1",
        "fe80::1%nosuchinterface",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct io_addr addr = { .port = 7 };
        assert_true(status_is(io_addr_parse(bad[i], 4420, &addr), STATUS_INVALID));
        assert_int_equal(addr.port, 7);
    }
    char longer[200];
    memset(longer, '1', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    struct io_addr addr;
    assert_true(status_is(io_addr_parse(longer, 1, &addr), STATUS_INVALID));
}

static struct io_addr parsed(const char *text)
{
    struct io_addr addr = { 0 };
    assert_true(status_ok(io_addr_parse(text, 1, &addr)));
    return addr;
}

static bool equal(const char *a, const char *b)
{
    const struct io_addr left = parsed(a);
    const struct io_addr right = parsed(b);
    return io_addr_equal(&left, &right);
}

static bool is_any(const char *text)
{
    const struct io_addr addr = parsed(text);
    return io_addr_is_any(&addr);
}

/* Family, IP, scope and port all count for equality; "any" is the zero address of a family. */
static void comparisons(void **state)
{
    (void)state;
    assert_true(equal("1.2.3.4:5", "1.2.3.4:5"));
    assert_false(equal("1.2.3.4:5", "1.2.3.4:6"));
    assert_false(equal("1.2.3.4:5", "1.2.3.5:5"));
    assert_false(equal("::", "0.0.0.0"));
    assert_false(equal("fe80::1%1", "fe80::1%2"));
    assert_false(equal("::1", "::2"));
    assert_true(is_any("0.0.0.0"));
    assert_true(is_any("::"));
    assert_false(is_any("::1"));
    assert_false(is_any("0.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(refusals),
        cmocka_unit_test(comparisons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
