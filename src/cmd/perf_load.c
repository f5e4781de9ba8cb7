/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_load.h"

#include <assert.h>
#include <string.h>

#include "base/span.h"

static const char *const rw_names[] = {
    [PERF_RW_READ] = "read",           [PERF_RW_WRITE] = "write",   [PERF_RW_RANDREAD] = "randread",
    [PERF_RW_RANDWRITE] = "randwrite", [PERF_RW_RANDRW] = "randrw",
};

struct status perf_rw_parse(const char *text, enum perf_rw *out_rw)
{
    for (unsigned i = 0; i < ARRAY_COUNT(rw_names); i++) {
        if (strcmp(text, rw_names[i]) == 0) {
            *out_rw = (enum perf_rw)i;
            return STATUS(OK);
        }
    }
    return STATUS(INVALID);
}

const char *perf_rw_name(enum perf_rw rw)
{
    return rw_names[rw];
}

bool perf_rw_reads(enum perf_rw rw)
{
    return rw == PERF_RW_READ || rw == PERF_RW_RANDREAD || rw == PERF_RW_RANDRW;
}

bool perf_rw_writes(enum perf_rw rw)
{
    return rw == PERF_RW_WRITE || rw == PERF_RW_RANDWRITE || rw == PERF_RW_RANDRW;
}

static bool is_sequential(const struct perf_load *load)
{
    return load->rw == PERF_RW_READ || load->rw == PERF_RW_WRITE;
}

void perf_load_init(struct perf_load *load, uint64_t seed)
{
    assert(load->io_bytes > 0);
    assert(load->bytes >= load->io_bytes);

    rng_init(&load->rng, seed);
    load->io_count = load->bytes / load->io_bytes;
    if (is_sequential(load) && load->bytes % load->io_bytes != 0)
        load->io_count++;
    load->next = 0;
}

static uint64_t next_index(struct perf_load *load)
{
    if (!is_sequential(load))
        return rng_below(&load->rng, load->io_count);

    const uint64_t index = load->next;
    load->next = index + 1 == load->io_count ? 0 : index + 1;
    return index;
}

struct perf_op perf_load_next(struct perf_load *load)
{
    const bool mixed = load->rw == PERF_RW_RANDRW;
    const bool is_read =
        mixed ? rng_below(&load->rng, 100) < load->read_percent : perf_rw_reads(load->rw);
    const uint64_t at = next_index(load) * load->io_bytes;

    return (struct perf_op) {
        .is_read = is_read,
        .offset = load->first + at,
        .bytes = min_u64(load->io_bytes, load->bytes - at),
    };
}
