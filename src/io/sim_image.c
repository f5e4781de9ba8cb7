/* SPDX-License-Identifier: Apache-2.0 */
#include "io/sim_image.h"

#include <assert.h>
#include <stdlib.h>

#define CHUNK_BYTES (SIM_PAGE_BYTES * SIM_CHUNK_PAGES)

void sim_image_init(struct sim_image *image, uint64_t bytes)
{
    image->bytes = bytes;
    image->chunks = calloc(SIM_IMAGE_CHUNKS(bytes), sizeof(struct sim_chunk *));
    assert(image->chunks != NULL);
}

void sim_image_fini(struct sim_image *image)
{
    for (uint64_t c = 0; c < SIM_IMAGE_CHUNKS(image->bytes); c++) {
        if (image->chunks[c] == NULL)
            continue;
        for (unsigned p = 0; p < SIM_CHUNK_PAGES; p++)
            free(image->chunks[c]->pages[p]);
        free(image->chunks[c]);
    }
    free(image->chunks);
}

void sim_image_resize(struct sim_image *image, uint64_t bytes)
{
    const uint64_t before = SIM_IMAGE_CHUNKS(image->bytes);
    struct sim_chunk **const chunks =
        calloc(max_u64(before, SIM_IMAGE_CHUNKS(bytes)), sizeof(struct sim_chunk *));

    assert(bytes % SIM_PAGE_BYTES == 0);
    assert(chunks != NULL);
    memcpy(chunks, image->chunks, before * sizeof(struct sim_chunk *));
    free(image->chunks);
    image->chunks = chunks;
    for (uint64_t at = bytes; at < image->bytes; at += SIM_PAGE_BYTES) {
        struct sim_chunk *const chunk = chunks[at / CHUNK_BYTES];
        if (chunk == NULL)
            continue;
        free(chunk->pages[at % CHUNK_BYTES / SIM_PAGE_BYTES]);
        chunk->pages[at % CHUNK_BYTES / SIM_PAGE_BYTES] = NULL;
    }
    for (uint64_t c = SIM_IMAGE_CHUNKS(bytes); c < before; c++) {
        free(chunks[c]);
        chunks[c] = NULL;
    }
    image->bytes = bytes;
}

static uint8_t *image_page(const struct sim_image *image, uint64_t offset)
{
    const struct sim_chunk *const chunk = image->chunks[offset / CHUNK_BYTES];
    return chunk == NULL ? NULL : chunk->pages[offset % CHUNK_BYTES / SIM_PAGE_BYTES];
}

static uint8_t *image_page_make(struct sim_image *image, uint64_t offset)
{
    struct sim_chunk **const chunk = &image->chunks[offset / CHUNK_BYTES];

    if (*chunk == NULL)
        *chunk = calloc(1, sizeof **chunk);
    assert(*chunk != NULL);
    uint8_t **const page = &(*chunk)->pages[offset % CHUNK_BYTES / SIM_PAGE_BYTES];
    if (*page == NULL)
        *page = calloc(1, SIM_PAGE_BYTES);
    assert(*page != NULL);
    return *page;
}

static bool is_zero(const uint8_t *at, size_t bytes)
{
    return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

void sim_image_read(const struct sim_image *image, uint64_t offset, struct span out)
{
    assert(offset <= image->bytes);
    assert(out.bytes <= image->bytes - offset);

    while (out.bytes > 0) {
        const uint64_t inside = offset % SIM_PAGE_BYTES;
        const size_t piece = min_u64(out.bytes, SIM_PAGE_BYTES - inside);
        const uint8_t *const page = image_page(image, offset);
        if (page == NULL)
            memset(out.at, 0, piece);
        else
            memcpy(out.at, page + inside, piece);
        out = span_sub(out, piece, out.bytes - piece);
        offset += piece;
    }
}

void sim_image_write(struct sim_image *image, uint64_t offset, struct const_span data)
{
    assert(offset <= image->bytes);
    assert(data.bytes <= image->bytes - offset);

    while (data.bytes > 0) {
        const uint64_t inside = offset % SIM_PAGE_BYTES;
        const size_t piece = min_u64(data.bytes, SIM_PAGE_BYTES - inside);
        if (image_page(image, offset) != NULL || !is_zero(data.at, piece))
            memcpy(image_page_make(image, offset) + inside, data.at, piece);
        data = const_span_sub(data, piece, data.bytes - piece);
        offset += piece;
    }
}

bool sim_image_next(const struct sim_image *image, uint64_t from, uint64_t *out_offset)
{
    for (uint64_t offset = round_down_u64(from, SIM_PAGE_BYTES); offset < image->bytes;) {
        if (image->chunks[offset / CHUNK_BYTES] == NULL) {
            offset = round_down_u64(offset, CHUNK_BYTES) + CHUNK_BYTES;
            continue;
        }
        if (image_page(image, offset) != NULL) {
            *out_offset = offset;
            return true;
        }
        offset += SIM_PAGE_BYTES;
    }
    return false;
}
