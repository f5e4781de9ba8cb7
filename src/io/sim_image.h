/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies on a simulated disk: sparse pages of 4 KiB; a page that was never written is zeros.
 *
 * Threading: the world's.   Memory: pages are allocated as they are written.
 */
#ifndef IO_SIM_IMAGE_H
#define IO_SIM_IMAGE_H

#include <stdbool.h>

#include "base/span.h"

#define SIM_PAGE_BYTES  ((uint64_t)4096)
#define SIM_CHUNK_PAGES 512
#define SIM_IMAGE_CHUNKS(bytes) \
    (((bytes) + SIM_PAGE_BYTES * SIM_CHUNK_PAGES - 1) / (SIM_PAGE_BYTES * SIM_CHUNK_PAGES))

struct sim_chunk {
    uint8_t *pages[SIM_CHUNK_PAGES];
};

struct sim_image {
    uint64_t bytes;
    struct sim_chunk **chunks;
};

void sim_image_init(struct sim_image *image, uint64_t bytes);
void sim_image_fini(struct sim_image *image);

/* Whole pages.  What is beyond the end is gone, what is new is zeros. */
void sim_image_resize(struct sim_image *image, uint64_t bytes);

/* Both lie inside the image; any alignment. */
void sim_image_read(const struct sim_image *image, uint64_t offset, struct span out);
void sim_image_write(struct sim_image *image, uint64_t offset, struct const_span data);

/* The first page at or after from that was written; false if there is none. */
bool sim_image_next(const struct sim_image *image, uint64_t from, uint64_t *out_offset);

#endif
