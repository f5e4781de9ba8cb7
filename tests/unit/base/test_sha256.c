/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/sha256.h"

/* Hashes the text in pieces of so many bytes, and compares with the digest in hexadecimal. */
static void check(const char *text, size_t piece, const char *expected)
{
    const size_t length = strlen(text);
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    struct sha256 *hash;

    assert_true(status_ok(sha256_create(&hash)));
    for (size_t at = 0; at < length; at += piece)
        sha256_update(
            hash, (struct const_span) { (const uint8_t *)text + at, min_u64(piece, length - at) });
    sha256_finish(hash, digest);
    sha256_destroy(hash);
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, expected);
}

/* The examples of FIPS 180-4, however the message is cut. */
static void the_examples_of_the_standard(void **state)
{
    static const char longer[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

    (void)state;
    check("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (size_t piece = 1; piece <= sizeof longer; piece++)
        check(longer, piece, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_examples_of_the_standard) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
