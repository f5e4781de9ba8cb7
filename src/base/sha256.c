/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sha256.h"

#include <assert.h>
#include <openssl/evp.h>

/* struct sha256 is libcrypto's EVP_MD_CTX under a name of ours. */
static EVP_MD_CTX *context_of(struct sha256 *hash)
{
    return (EVP_MD_CTX *)(void *)hash;
}

struct status sha256_create(struct sha256 **out_hash)
{
    EVP_MD_CTX *const context = EVP_MD_CTX_new();

    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return STATUS(NO_MEMORY);
    }
    *out_hash = (struct sha256 *)(void *)context;
    return STATUS(OK);
}

void sha256_destroy(struct sha256 *hash)
{
    EVP_MD_CTX_free(context_of(hash));
}

/* Of a digest that was begun neither call fails. */
void sha256_update(struct sha256 *hash, struct const_span data)
{
    const int done = EVP_DigestUpdate(context_of(hash), data.at, data.bytes);

    assert(done == 1);
}

void sha256_finish(struct sha256 *hash, uint8_t out_digest[SHA256_BYTES])
{
    unsigned bytes = 0;
    const int done = EVP_DigestFinal_ex(context_of(hash), out_digest, &bytes);

    assert(done == 1);
    assert(bytes == SHA256_BYTES);
}
