/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"
#include "cmd/command.h"
#include "io/uring.h"

#define ARGS_MAX 16

/* Makes a command line of the program's name and the words of text. */
static int split(const char *text, char *argv[ARGS_MAX])
{
    static char words[512];
    int argc = 1;

    argv[0] = "up";
    snprintf(words, sizeof words, "%s", text);
    for (char *at = words; *at != '\0' && argc < ARGS_MAX;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at == ' ')
            *at++ = '\0';
    }
    return argc;
}

/* Parses "up" and the words of text. */
static bool parse(const char *text, struct up_options *out_options, int *out_exit)
{
    char *argv[ARGS_MAX];
    const int argc = split(text, argv);

    return up_options_parse(argc, argv, out_options, out_exit);
}

/* With nothing but --data, a user gets three disks of 10 GiB at the protocols' own ports. */
static void defaults(void **state)
{
    (void)state;
    struct up_options o;
    int status;
    assert_true(parse("--data d", &o, &status));
    assert_string_equal(o.data, "d");
    assert_int_equal(o.disk_count, 3);
    assert_int_equal(o.disk_bytes, UINT64_C(10) << 30);
    assert_string_equal(io_addr_format(&o.listen).s, "0.0.0.0:4420");
    assert_string_equal(io_addr_format(&o.api).s, "127.0.0.1:7420");
    assert_false(o.has_advertise);
    assert_int_equal(o.spin_ns, URING_SPIN_AUTO);
    assert_int_equal(o.io_features_mask, 0);
    assert_int_equal(o.roles, NODE_ROLES_ALL);
    assert_null(o.zone);
    assert_null(o.rack);
}

/* Every option reaches its field; --port is the port of what was given none. */
static void every_option(void **state)
{
    (void)state;
    struct up_options o;
    int status;
    assert_true(parse("--data d --disk /dev/a --disk mem:1G --listen ::1 --advertise 192.0.2.1 "
                      "--port 4421 --api [::1]:7421",
                      &o, &status));
    assert_int_equal(o.given_count, 2);
    assert_int_equal(o.disk_count, 0);
    assert_string_equal(o.disks[1], "mem:1G");
    assert_string_equal(io_addr_format(&o.listen).s, "[::1]:4421");
    assert_string_equal(io_addr_format(&o.advertise).s, "192.0.2.1:4421");
    assert_string_equal(io_addr_format(&o.api).s, "[::1]:7421");
    assert_true(
        parse("--data d --reactors 4 --spin 50 --force --disks 2 --disk-size 64M", &o, &status));
    assert_int_equal(o.reactors, 4);
    assert_int_equal(o.spin_ns, 50000);
    assert_true(o.force);
    assert_int_equal(o.disk_count, 2);
    assert_int_equal(o.disk_bytes, 64 << 20);
    assert_true(parse("--data d --io-features=-files,-ring-fd", &o, &status));
    assert_int_equal(o.io_features_mask, URING_FEATURE_FILES | URING_FEATURE_RING_FD);
    assert_true(parse("--data d --roles store --zone room-7 --rack r1", &o, &status));
    assert_int_equal(o.roles, 1u << NODE_ROLE_STORE);
    assert_int_equal(o.disk_count, 3);
    assert_string_equal(o.zone, "room-7");
    assert_string_equal(o.rack, "r1");
    assert_true(parse("--data d --roles target", &o, &status));
    assert_int_equal(o.roles, 1u << NODE_ROLE_TARGET);
    assert_int_equal(o.disk_count, 0); /* It does not store. */
    assert_true(parse("--data d --nodes 4 --zones 2", &o, &status));
    assert_int_equal(o.zones, 2);
    assert_int_equal(o.resync_bytes_per_s, 128 << 20);
    assert_true(parse("--data d --resync-rate 64M", &o, &status));
    assert_int_equal(o.resync_bytes_per_s, 64 << 20);
    assert_true(parse("--data d --resync-rate off", &o, &status));
    assert_int_equal(o.resync_bytes_per_s, 0);
}

/* What is wrong on the command line ends the command with the usage status. */
static void wrong_options(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "--data d --disk x --disks 2",
        "--data d --disk-size 8M",
        "--data d --disks 0",
        "--data d --port 70000",
        "--data d --listen nowhere",
        "--data d --api 1.2.3.4:x",
        "--data d --spin never",
        "--data d --io-features teleport",
        "--data d --log-level loud",
        "--data d --buffers 1M",
        "--data d --checksum-memory 4K",
        "--data d --checksum-memory some",
        "--data d --atomic-size 256",
        "--data d --atomic-size 6K",
        "--data d --atomic-size 2M",
        "--data d --resync-rate 4K",
        "--data d --resync-rate never",
        "--data d --unknown",
        "--data d operand",
        "--data d --roles target --disk /dev/a",
        "--data d --roles target --disks 1",
        "--data d --roles store,",
        "--data d --roles serve",
        "--data d --zone Z",
        "--data d --zones 2",
        "--data d --nodes 2 --zones 2 --zone a",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct up_options o;
        int status = -1;
        assert_false(parse(wrong[i], &o, &status));
        assert_int_equal(status, COMMAND_USAGE);
    }
}

/* What is kept, or passed on, has whole names, however getopt_long() was told them. */
static void whole_names(void **state)
{
    (void)state;
    static const char *const forms[] = { "--force", "--forc", "--fo" };
    static const char *const once[] = { "force", NULL };
    static const char *const wanted[] = { "--name=n", "--controller=::1", "--data=d",
                                          "--io-features=-files", "--token=--force" };
    struct up_options o;
    char *argv[ARGS_MAX];
    char text[128];
    int status;
    for (size_t f = 0; f < ARRAY_COUNT(forms); f++) {
        snprintf(text, sizeof text, "--na n --contr ::1 %s --dat=d --io-f -files --token --force",
                 forms[f]);
        const int argc = split(text, argv);
        assert_true(up_options_parse_node(argc, argv, &o, &status));
        assert_true(o.force);
        char **spelled = up_options_spell(&o, argc, argv, once);
        assert_non_null(spelled);
        for (size_t i = 0; i < ARRAY_COUNT(wanted); i++)
            assert_string_equal(spelled[i], wanted[i]);
        assert_null(spelled[ARRAY_COUNT(wanted)]);
        free(spelled);
    }
    const int argc = split("--data d --po 5000 --force --rebuild 30s", argv);
    assert_true(up_options_parse(argc, argv, &o, &status));
    char **all = up_options_spell(&o, argc, argv, (const char *const[]) { NULL });
    assert_non_null(all);
    assert_string_equal(all[1], "--port=5000");
    assert_string_equal(all[2], "--force");
    assert_string_equal(all[3], "--rebuild-after=30s");
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_option),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(whole_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
