/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4), as proof for people that two things are the same.
 *
 * Threading: one thread at a time.   Memory: from the heap, libcrypto's.
 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include "base/span.h"
#include "base/status.h"

#define SHA256_BYTES 32

struct sha256;

/* NO_MEMORY. */
struct status sha256_create(struct sha256 **out_hash) MUST_CHECK;

/* NULL is allowed. */
void sha256_destroy(struct sha256 *hash);

/* The next bytes of the message. */
void sha256_update(struct sha256 *hash, struct const_span data);

/* That was all of it; then the hash is of no use but to be destroyed. */
void sha256_finish(struct sha256 *hash, uint8_t out_digest[SHA256_BYTES]);

#endif
