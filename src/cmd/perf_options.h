/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `trilith perf`.
 *
 * Threading: the main thread.   Memory: texts point into argv.
 */
#ifndef CMD_PERF_OPTIONS_H
#define CMD_PERF_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/cli.h"
#include "cmd/perf_load.h"
#include "io/addr.h"
#include "nvme/nqn.h"

struct perf_options {
    bool has_to;
    struct io_addr to;
    const char *api;               /* --api, or NULL. */
    const char *volume;            /* As it was given: a name or an NQN. */
    struct nqn_text subsystem_nqn; /* What it means. */
    const char *host_nqn;          /* NULL: one is made up. */

    enum perf_rw rw;
    unsigned read_percent;
    uint64_t block_bytes;
    unsigned depth;
    unsigned connections;
    uint64_t time_ns; /* 0: not given. */
    uint64_t bytes;   /* 0: not given. */
    uint64_t offset;
    uint64_t size; /* 0: to the end. */
    bool has_range;
    bool fua;
    uint64_t flush_every;
    bool has_seed;
    uint64_t seed;

    bool verify;
    const char *verify_state;
    bool power_loss;
    uint64_t reconnect_ns;
    uint64_t timeout_ns;

    bool digests;
    uint64_t spin_ns;          /* As uring_config has it. */
    uint64_t io_features_mask; /* Likewise. */
    enum cli_format format;
};

/* False if the command ends now, with args->exit_status: all is said. */
bool perf_options_parse(int argc, char **argv, struct cli_args *args,
                        struct perf_options *out_options) MUST_CHECK;

#endif
