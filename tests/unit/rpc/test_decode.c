/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trilith/v1/node.pb-c.h"
#include "trilith/v1/volume.pb-c.h"

static struct status decode_name(const char *name, size_t bytes)
{
    uint8_t raw[64] = { 0x0a, (uint8_t)bytes }; /* Field 1, a string. */
    char problem[RPC_TEXT_BYTES];
    ProtobufCMessage *message = NULL;

    memcpy(raw + 2, name, bytes);
    const struct status st = rpc_decode(&trilith__v1__get_volume_request__descriptor,
                                        (struct const_span) { raw, 2 + bytes }, &message, problem);
    if (!status_ok(st))
        assert_string_equal(problem, "field 'name' is not text");
    rpc_message_free(message);
    return st;
}

/* Every string is UTF-8 without control characters, or the message is refused by field. */
static void strings(void **state)
{
    static const char *const good[] = { "",
                                        "db1",
                                        "gr\xc3\xbc\xc3\x9f",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x92\xbe",
                                        "\xed\x9f\xbf",
                                        "\xf4\x8f\xbf\xbf" };
    static const char *const bad[] = {
        "\x01",
        "a\nb",
        "\x7f",
        "\x80",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xc3",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xe2\x82",
        "\xc2\x85",
        "\xff",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(status_ok(decode_name(good[i], strlen(good[i]))));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_true(status_is(decode_name(bad[i], strlen(bad[i])), STATUS_INVALID));
}

/* A string is checked also where it lies in a repeated field of a submessage. */
static void nested_strings(void **state)
{
    /* ReportStatusRequest.volumes (5) { connected_hosts (6): "\xff" } */
    static const uint8_t raw[] = { 0x2a, 0x03, 0x32, 0x01, 0xff };
    char problem[RPC_TEXT_BYTES];
    ProtobufCMessage *message = NULL;
    (void)state;
    const struct status st = rpc_decode(&trilith__v1__report_status_request__descriptor,
                                        (struct const_span) { raw, sizeof raw }, &message, problem);
    assert_true(status_is(st, STATUS_INVALID));
    assert_string_equal(problem, "field 'connected_hosts' is not text");
}

/* A small message full of empty submessages does not get the memory that it asks for. */
static void budget(void **state)
{
    const size_t count = 100000;
    uint8_t *raw = malloc(2 * count);
    char problem[RPC_TEXT_BYTES];
    ProtobufCMessage *message = NULL;
    (void)state;
    for (size_t i = 0; i < count; i++) {
        raw[2 * i] = 0x1a; /* WatchNodeResponse.volumes (3), empty. */
        raw[2 * i + 1] = 0;
    }
    /* 200,000 bytes may take 64 KiB + 12.8 MB; a DesiredVolume is more than 128 bytes. */
    assert_true(sizeof(Trilith__V1__DesiredVolume) > 130);
    struct status st = rpc_decode(&trilith__v1__watch_node_response__descriptor,
                                  (struct const_span) { raw, 2 * count }, &message, problem);
    assert_true(status_is(st, STATUS_INVALID));
    st = rpc_decode(&trilith__v1__watch_node_response__descriptor, (struct const_span) { raw, 200 },
                    &message, problem);
    assert_true(status_ok(st));
    rpc_message_free(message);
    free(raw);
}

/* Bytes that are no message are refused. */
static void rubbish(void **state)
{
    static const uint8_t raw[] = { 0x0a, 0x7f, 'a' };
    char problem[RPC_TEXT_BYTES];
    ProtobufCMessage *message = NULL;
    (void)state;
    const struct status st = rpc_decode(&trilith__v1__get_volume_request__descriptor,
                                        (struct const_span) { raw, sizeof raw }, &message, problem);
    assert_true(status_is(st, STATUS_INVALID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(nested_strings),
        cmocka_unit_test(budget),
        cmocka_unit_test(rubbish),
    };
    return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
