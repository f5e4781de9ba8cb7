/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_options.h"

#include <string.h>

#include "cmd/api.h"
#include "cmd/command.h"
#include "cmd/perf_block.h"
#include "cmd/perf_session.h"
#include "io/uring.h"
#include "nvme/limits.h"

#define NVME_PORT       4420
#define TIME_S_DEFAULT  10
#define TIME_S_MAX      (7 * 24 * 3600)
#define BLOCK_DEFAULT   4096
#define DEPTH_DEFAULT   32
#define DEPTH_MAX       (NVME_QUEUE_ENTRIES_MAX - 1)
#define TIMEOUT_DEFAULT 30

enum option_id {
    OPTION_TO = 1000,
    OPTION_VOLUME,
    OPTION_HOST_NQN,
    OPTION_RW,
    OPTION_READ_PERCENT,
    OPTION_BLOCK_SIZE,
    OPTION_DEPTH,
    OPTION_CONNECTIONS,
    OPTION_TIME,
    OPTION_BYTES,
    OPTION_OFFSET,
    OPTION_SIZE,
    OPTION_FUA,
    OPTION_FLUSH_EVERY,
    OPTION_SEED,
    OPTION_VERIFY,
    OPTION_VERIFY_STATE,
    OPTION_POWER_LOSS,
    OPTION_RECONNECT,
    OPTION_TIMEOUT,
    OPTION_DIGESTS,
    OPTION_SPIN,
    OPTION_IO_FEATURES,
};

static const struct cli_option options[] = {
    { "to", OPTION_TO, "ADDR:PORT", "the target's address; without it, the API is asked" },
    API_OPTION,
    { "volume", OPTION_VOLUME, "NAME|NQN", "the volume's name, or the NQN of any subsystem" },
    { "host-nqn", OPTION_HOST_NQN, "NQN", "who we say we are (default: a new host each time)" },
    { "rw", OPTION_RW, "KIND", "read, write, randread, randwrite or randrw (default read)" },
    { "read-percent", OPTION_READ_PERCENT, "N", "how many I/Os of randrw read (default 50)" },
    { "block-size", OPTION_BLOCK_SIZE, "SIZE", "of one I/O, up to 512K (default 4K)" },
    { "depth", OPTION_DEPTH, "N", "I/Os in flight on each connection (default 32)" },
    { "connections", OPTION_CONNECTIONS, "N", "connections, that is, I/O queues (default 1)" },
    { "time", OPTION_TIME, "S", "run for S seconds (default 10, without --bytes)" },
    { "bytes", OPTION_BYTES, "SIZE", "run until so much is read and written" },
    { "offset", OPTION_OFFSET, "SIZE", "where the range of the volume to use begins" },
    { "size", OPTION_SIZE, "SIZE", "how large that range is (default: to the end)" },
    { "fua", OPTION_FUA, NULL, "force unit access on every write" },
    { "flush-every", OPTION_FLUSH_EVERY, "N", "a Flush after every N writes" },
    { "seed", OPTION_SEED, "N", "of places and data (default: a new one each time)" },
    { "verify", OPTION_VERIFY, NULL,
      "write blocks that carry their address, a sequence number and a\n"
      "checksum, and check every block that is read" },
    { "verify-state", OPTION_VERIFY_STATE, "FILE",
      "remember in FILE what was acknowledged and flushed, also across\n"
      "runs; with --rw read, verify the whole range once" },
    { "power-loss", OPTION_POWER_LOSS, NULL,
      "verify after a loss of power: only flushed writes must be there" },
    { "reconnect", OPTION_RECONNECT, "S", "after a lost connection, try again for S seconds" },
    { "timeout", OPTION_TIMEOUT, "S", "give a command and a connection up after S (default 30)" },
    { "digests", OPTION_DIGESTS, NULL, "ask for header and data digests" },
    CLI_OPTION_SPIN(OPTION_SPIN),
    CLI_OPTION_IO_FEATURES(OPTION_IO_FEATURES),
    CLI_OPTION_OUTPUT,
};

static const struct cli_syntax syntax = {
    .command = "trilith perf",
    .operands = "--volume NAME|NQN [--to ADDR:PORT] [OPTIONS]",
    .about = "Measures, and with --verify checks, a volume over NVMe/TCP.\n"
             "Exit status 1: an I/O failed, a block was wrong, or there was no connection.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

/* ---- Single values ---- */

static bool take_address(struct cli_args *args, struct perf_options *o)
{
    o->has_to = true;
    if (status_ok(io_addr_parse(args->value, NVME_PORT, &o->to)))
        return true;
    (void)cli_usage(args, "--to '%s' is not an address; write 192.0.2.1:4420 or [::1]:4420",
                    args->value);
    return false;
}

static bool take_volume(struct cli_args *args, struct perf_options *o)
{
    o->volume = args->value;
    if (nqn_is_valid(args->value)) {
        memcpy(o->subsystem_nqn.s, args->value, strlen(args->value) + 1);
        return true;
    }
    if (status_ok(nqn_for_volume(args->value, &o->subsystem_nqn)))
        return true;
    (void)cli_usage(args, "--volume '%s' is neither an NQN nor a name (%s)", args->value,
                    VOLUME_NAME_RULE);
    return false;
}

static bool take_host_nqn(struct cli_args *args, struct perf_options *o)
{
    o->host_nqn = args->value;
    if (nqn_is_valid(args->value))
        return true;
    (void)cli_usage(args, "--host-nqn '%s' is not an NQN; write nqn.2026-01.org.example:host1",
                    args->value);
    return false;
}

static bool take_rw(struct cli_args *args, struct perf_options *o)
{
    if (status_ok(perf_rw_parse(args->value, &o->rw)))
        return true;
    (void)cli_usage(args, "--rw '%s' is none of read, write, randread, randwrite, randrw",
                    args->value);
    return false;
}

static bool take_unsigned(struct cli_args *args, const char *name, unsigned min, unsigned max,
                          unsigned *out)
{
    uint64_t number;

    if (!cli_number(args, name, min, max, &number))
        return false;
    *out = (unsigned)number;
    return true;
}

static bool take_seconds(struct cli_args *args, const char *name, uint64_t *out_ns)
{
    uint64_t seconds;

    if (!cli_number(args, name, 1, TIME_S_MAX, &seconds))
        return false;
    *out_ns = seconds * NS_PER_S;
    return true;
}

/* ---- All of them ---- */

/* Options that say how the volume is reached and checked. */
static bool take_other(struct cli_args *args, int id, struct perf_options *o)
{
    switch (id) {
    case OPTION_TO:
        return take_address(args, o);
    case API_OPTION_ID:
        o->api = args->value;
        return true;
    case OPTION_VOLUME:
        return take_volume(args, o);
    case OPTION_HOST_NQN:
        return take_host_nqn(args, o);
    case OPTION_VERIFY:
        o->verify = true;
        return true;
    case OPTION_VERIFY_STATE:
        o->verify_state = args->value;
        return true;
    case OPTION_POWER_LOSS:
        o->power_loss = true;
        return true;
    case OPTION_RECONNECT:
        return take_seconds(args, "reconnect", &o->reconnect_ns);
    case OPTION_TIMEOUT:
        return take_seconds(args, "timeout", &o->timeout_ns);
    case OPTION_DIGESTS:
        o->digests = true;
        return true;
    case OPTION_SPIN:
        return cli_spin(args, &o->spin_ns);
    case OPTION_IO_FEATURES:
        return cli_io_features(args, &o->io_features_mask);
    default: /* 'o': there is no other. */
        return cli_output(args, &o->format);
    }
}

/* Options that make the load. */
static bool take(struct cli_args *args, int id, struct perf_options *o)
{
    switch (id) {
    case OPTION_RW:
        return take_rw(args, o);
    case OPTION_READ_PERCENT:
        return take_unsigned(args, "read-percent", 0, 100, &o->read_percent);
    case OPTION_BLOCK_SIZE:
        return cli_size(args, "block-size", &o->block_bytes);
    case OPTION_DEPTH:
        return take_unsigned(args, "depth", 1, DEPTH_MAX, &o->depth);
    case OPTION_CONNECTIONS:
        return take_unsigned(args, "connections", 1, PERF_CONNECTIONS_MAX, &o->connections);
    case OPTION_TIME:
        return take_seconds(args, "time", &o->time_ns);
    case OPTION_BYTES:
        return cli_size(args, "bytes", &o->bytes);
    case OPTION_OFFSET:
        o->has_range = true;
        return cli_size(args, "offset", &o->offset);
    case OPTION_SIZE:
        o->has_range = true;
        return cli_size(args, "size", &o->size);
    case OPTION_FUA:
        o->fua = true;
        return true;
    case OPTION_FLUSH_EVERY:
        return cli_number(args, "flush-every", 1, UINT32_MAX, &o->flush_every);
    case OPTION_SEED:
        o->has_seed = true;
        return cli_number(args, "seed", 0, UINT64_MAX - 1, &o->seed);
    default:
        return take_other(args, id, o);
    }
}

static bool usage(struct cli_args *args, const char *text)
{
    (void)cli_usage(args, "%s", text);
    return false;
}

/* What only the whole of the options can tell. */
static bool check(struct cli_args *args, struct perf_options *o)
{
    if (o->volume == NULL)
        return usage(args, "--volume is missing: which one?");
    if (o->block_bytes == 0 || o->block_bytes > NVME_DATA_BYTES_MAX || o->block_bytes % 512 != 0)
        return usage(args, "--block-size must be a multiple of 512, up to 512K");
    if (o->time_ns != 0 && o->bytes != 0)
        return usage(args, "--time and --bytes cannot both be given");
    if ((o->verify_state != NULL || o->power_loss) && !o->verify)
        return usage(args, "--verify-state and --power-loss go with --verify");
    if (o->power_loss && (perf_rw_writes(o->rw) || o->verify_state == NULL))
        return usage(args, "--power-loss goes with --verify-state and --rw read or randread");
    if (o->verify && o->block_bytes % PERF_BLOCK_BYTES != 0)
        return usage(args, "with --verify, --block-size must be a multiple of 4K");
    /* A sequential pass of verification ends by itself. */
    if (o->time_ns == 0 && o->bytes == 0 && !(o->verify && o->rw == PERF_RW_READ))
        o->time_ns = TIME_S_DEFAULT * NS_PER_S;
    return true;
}

bool perf_options_parse(int argc, char **argv, struct cli_args *args,
                        struct perf_options *out_options)
{
    struct perf_options o = {
        .read_percent = 50,
        .block_bytes = BLOCK_DEFAULT,
        .depth = DEPTH_DEFAULT,
        .connections = 1,
        .timeout_ns = TIMEOUT_DEFAULT * NS_PER_S,
        .spin_ns = URING_SPIN_AUTO,
    };
    int id;

    cli_begin(args, &syntax, argc, argv);
    while ((id = cli_next(args)) >= 0) {
        if (!take(args, id, &o))
            return false;
    }
    if (id == CLI_EXIT || !check(args, &o))
        return false;
    *out_options = o;
    return true;
}
