/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_run.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "cmd/perf_run_internal.h"

#define PROGRESS_NS NS_PER_S
#define LINE_BYTES  400

/*
 *  IDLE -> CONNECTING -> RUNNING -> DRAINING -> CLOSING -> ENDED
 *               |           |          |           ^
 *               +-----------+----------+-----------+ (the session ended)
 *
 * What each state awaits stands in perf_run_internal.h.  A connection that is lost and made
 * again is the session's affair: RUNNING and DRAINING go on.
 */
static const struct sm_state run_states[] = {
    [PERF_RUN_IDLE] = { "idle", SM_TO(PERF_RUN_CONNECTING) },
    [PERF_RUN_CONNECTING] = { "connecting", SM_TO(PERF_RUN_RUNNING) | SM_TO(PERF_RUN_CLOSING) },
    [PERF_RUN_RUNNING] = { "running", SM_TO(PERF_RUN_DRAINING) | SM_TO(PERF_RUN_CLOSING) },
    [PERF_RUN_DRAINING] = { "draining", SM_TO(PERF_RUN_CLOSING) },
    [PERF_RUN_CLOSING] = { "closing", SM_TO(PERF_RUN_ENDED) },
    [PERF_RUN_ENDED] = { "ended", 0 },
};

static uint64_t now_ns(const struct perf_run *run)
{
    return reactor_now_ns(run->config.reactor);
}

void perf_run_message(struct perf_run *run, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    run->config.message(run->config.ctx, line);
}

/* ---- Preparation, when the namespace is known ---- */

static struct status MUST_CHECK refuse(struct perf_run *run, const char *why)
{
    perf_run_message(run, "%s", why);
    return STATUS(INVALID);
}

static struct status MUST_CHECK check_sizes(struct perf_run *run)
{
    const struct perf_run_config *c = &run->config;
    const uint64_t unit =
        c->verify ? max_u64(PERF_BLOCK_BYTES, run->ns.lba_bytes) : run->ns.lba_bytes;
    const uint64_t io_bytes_max = perf_session_info(run->session)->data_bytes_max;

    if (c->io_bytes % unit != 0 || c->range_offset % unit != 0 || c->range_bytes % unit != 0) {
        perf_run_message(run, "block size, offset and size must be multiples of %s here",
                         size_format(unit).s);
        return STATUS(INVALID);
    }
    if (c->io_bytes > io_bytes_max) {
        perf_run_message(run, "the controller takes at most %s in one command",
                         size_format(io_bytes_max).s);
        return STATUS(INVALID);
    }
    if (c->range_offset > run->ns.bytes || c->range_bytes > run->ns.bytes - c->range_offset)
        return refuse(run, "offset and size reach past the end of the volume");
    return STATUS(OK);
}

static struct status MUST_CHECK set_range(struct perf_run *run)
{
    const struct perf_run_config *c = &run->config;
    const uint64_t unit = c->verify ? PERF_BLOCK_BYTES : run->ns.lba_bytes;
    const uint64_t rest = round_down_u64(run->ns.bytes - c->range_offset, unit);

    run->load = (struct perf_load) {
        .rw = c->rw,
        .read_percent = c->read_percent,
        .first = c->range_offset,
        .bytes = c->range_bytes != 0 ? c->range_bytes : rest,
        .io_bytes = c->io_bytes,
    };
    if (run->load.bytes < c->io_bytes)
        return refuse(run, "the range is smaller than one block");
    perf_load_init(&run->load, c->seed);

    run->bytes_left = c->bytes_max != 0 ? c->bytes_max : UINT64_MAX;
    if (c->bytes_max == 0 && c->time_ns == 0)
        run->bytes_left = run->load.bytes;
    return STATUS(OK);
}

static void on_violation(void *ctx, const struct perf_violation *v)
{
    struct perf_run *run = ctx;

    run->violations++;
    if (run->violations <= PERF_VIOLATIONS_TOLD)
        run->config.message(run->config.ctx, perf_violation_format(v).s);
    if (run->violations == PERF_VIOLATIONS_TOLD)
        perf_run_message(run, "further wrong blocks are counted, not printed");
}

/* An existing file: it must be about this volume and this range. */
static struct status MUST_CHECK check_state(struct perf_run *run)
{
    const struct perf_state_id *id = perf_state_id(run->config.state);

    if (!uuid_equal(id->block_id.volume, run->ns.uuid)) {
        perf_run_message(run, "the verify-state file is of volume %s, and this is %s",
                         uuid_format(id->block_id.volume).s, uuid_format(run->ns.uuid).s);
        return STATUS(FOREIGN);
    }
    if (id->first_block * PERF_BLOCK_BYTES != run->load.first ||
        id->block_count * PERF_BLOCK_BYTES != run->load.bytes) {
        perf_run_message(run,
                         "the verify-state file covers --offset %" PRIu64 " --size %" PRIu64
                         ", and this run --offset %" PRIu64 " --size %" PRIu64,
                         id->first_block * PERF_BLOCK_BYTES, id->block_count * PERF_BLOCK_BYTES,
                         run->load.first, run->load.bytes);
        return STATUS(INVALID);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK make_state(struct perf_run *run)
{
    const struct perf_run_config *c = &run->config;
    const struct perf_state_id id = {
        .block_id = { .volume = run->ns.uuid, .run = c->verify_run },
        .seed = c->seed,
        .first_block = run->load.first / PERF_BLOCK_BYTES,
        .block_count = run->load.bytes / PERF_BLOCK_BYTES,
    };

    if (id.block_count > PERF_STATE_BLOCKS_MAX)
        return refuse(run, "--verify takes at most 1 TiB: give --size");
    if (c->state_path == NULL)
        return perf_state_create(&id, &run->own_state);
    const struct status st = perf_state_create_file(c->state_path, &id, &run->own_state);
    if (!status_ok(st))
        perf_run_message(run, "verify state '%s': %s", c->state_path, status_text(st));
    return st;
}

static struct status MUST_CHECK open_verify(struct perf_run *run)
{
    const struct perf_run_config *c = &run->config;

    if (!c->verify)
        return STATUS(OK);
    if (c->state != NULL)
        TRY(check_state(run));
    else
        TRY(make_state(run));
    const struct perf_verify_config vc = {
        .state = c->state != NULL ? c->state : run->own_state,
        .power_loss = c->power_loss,
        .violation = on_violation,
        .ctx = run,
    };
    return perf_verify_create(&vc, &run->verify);
}

static struct status MUST_CHECK prepare(struct perf_run *run)
{
    run->ns = *perf_session_ns(run->session);
    TRY(check_sizes(run));
    TRY(set_range(run));
    TRY(open_verify(run));
    return perf_slots_create(run);
}

/* ---- Measuring ---- */

static void start_measuring(struct perf_run *run)
{
    const struct perf_run_config *c = &run->config;

    run->start_ns = now_ns(run);
    run->end_ns = run->start_ns;
    run->deadline_ns = c->time_ns != 0 ? run->start_ns + c->time_ns : UINT64_MAX;
    run->cpu_start_ns = c->cpu_ns();
    run->syscalls_start = c->reactor->stats.syscalls;
}

static void update_stats(struct perf_run *run, uint64_t until_ns)
{
    run->stats.elapsed_ns = until_ns - run->start_ns;
    run->stats.cpu_ns = run->config.cpu_ns() - run->cpu_start_ns;
    run->stats.syscalls = run->config.reactor->stats.syscalls - run->syscalls_start;
}

static void arm_timer(struct perf_run *run)
{
    io_timer_arm(&run->timer, run->config.reactor,
                 min_u64(run->deadline_ns, now_ns(run) + PROGRESS_NS));
}

static void on_timer(struct io_timer *timer)
{
    struct perf_run *run = CONTAINER_OF(timer, struct perf_run, timer);

    if (run->sm.now != PERF_RUN_RUNNING)
        return;
    if (now_ns(run) >= run->deadline_ns) {
        perf_run_drain(run);
        return;
    }
    if (run->config.progress != NULL) {
        update_stats(run, now_ns(run));
        run->config.progress(run->config.ctx, &run->stats);
    }
    arm_timer(run);
}

/* ---- The end ---- */

static void close_session(struct perf_run *run)
{
    if (run->sm.now == PERF_RUN_CLOSING)
        return;
    io_timer_disarm(&run->timer);
    sm_move(&run->sm, PERF_RUN_CLOSING);
    perf_session_stop(run->session);
}

void perf_run_drain(struct perf_run *run)
{
    if (run->sm.now != PERF_RUN_RUNNING)
        return;
    io_timer_disarm(&run->timer);
    sm_move(&run->sm, PERF_RUN_DRAINING);
    perf_run_on_idle(run);
}

bool perf_run_must_finish(const struct perf_run *run)
{
    return run->deadline_ns == UINT64_MAX && !run->failed;
}

static bool has_unfinished(const struct perf_run *run)
{
    for (unsigned i = 0; perf_run_must_finish(run) && i < run->slot_count; i++) {
        if (run->slots[i].again)
            return true;
    }
    return false;
}

void perf_run_on_idle(struct perf_run *run)
{
    if (run->sm.now == PERF_RUN_DRAINING && run->in_flight == 0 && !has_unfinished(run))
        close_session(run);
}

/* ---- The session ---- */

static void on_first_up(struct perf_run *run)
{
    const struct status st = prepare(run);

    if (!status_ok(st)) {
        if (!status_is(st, STATUS_INVALID) && !status_is(st, STATUS_FOREIGN))
            perf_run_message(run, "cannot start: %s", status_text(st));
        run->failed = true;
        close_session(run);
        return;
    }
    sm_move(&run->sm, PERF_RUN_RUNNING);
    start_measuring(run);
    arm_timer(run);
    perf_slots_start(run);
}

static void on_up_again(struct perf_run *run)
{
    const struct initiator_ns_info *ns = perf_session_ns(run->session);

    if (ns->nsid != run->ns.nsid || ns->bytes < run->load.first + run->load.bytes ||
        !uuid_equal(ns->uuid, run->ns.uuid)) {
        perf_run_message(run, "after the reconnection there is another volume");
        run->failed = true;
        close_session(run);
        return;
    }
    run->stats.reconnects++;
    run->stats.down_ns += now_ns(run) - run->down_since_ns;
    perf_run_message(run, "connected again after %.1f s",
                     (double)(now_ns(run) - run->down_since_ns) / (double)NS_PER_S);
    perf_slots_start(run);
}

static void on_up(struct perf_session *s)
{
    struct perf_run *run = perf_session_ctx(s);

    if (run->sm.now == PERF_RUN_CONNECTING)
        on_first_up(run);
    else
        on_up_again(run);
}

static void on_down(struct perf_session *s, struct status why)
{
    struct perf_run *run = perf_session_ctx(s);

    if (run->sm.now == PERF_RUN_CLOSING)
        return;
    run->down_since_ns = now_ns(run);
    if (run->config.reconnect_ns == 0)
        run->failed = true;
    perf_run_message(run, "connection to %s lost: %s%s",
                     io_addr_format(&run->config.endpoint.addr).s, status_text(why),
                     run->config.reconnect_ns > 0 ? "; trying again" : "");
}

static void on_session_ended(struct perf_session *s, struct status why)
{
    struct perf_run *run = perf_session_ctx(s);

    assert(run->in_flight == 0);
    if (!status_ok(why)) {
        run->failed = true;
        perf_run_message(run, "cannot connect to '%s' at %s: %s",
                         run->config.endpoint.subsystem_nqn.s,
                         io_addr_format(&run->config.endpoint.addr).s, status_text(why));
    }
    io_timer_disarm(&run->timer);
    if (run->sm.now != PERF_RUN_CLOSING)
        sm_move(&run->sm, PERF_RUN_CLOSING);
    sm_move(&run->sm, PERF_RUN_ENDED);
    if (run->start_ns != 0)
        update_stats(run, run->end_ns);
    if (run->verify != NULL)
        run->stats.verify = perf_verify_counts(run->verify);
    run->config.ended(run->config.ctx, &run->stats, run->failed); /* run may be gone. */
}

static const struct perf_session_ops session_ops = { on_up, on_down, on_session_ended };

/* ---- Interface ---- */

struct status perf_run_create(const struct perf_run_config *config, struct perf_run **out_run)
{
    assert(config->io_bytes > 0);
    assert(!config->power_loss || !perf_rw_writes(config->rw));

    struct perf_run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return STATUS(NO_MEMORY);
    run->config = *config;
    sm_init(&run->sm, run_states, PERF_RUN_IDLE);
    list_init(&run->parked);
    io_timer_init(&run->timer, on_timer);
    hist_init(&run->stats.reads.latency_ns);
    hist_init(&run->stats.writes.latency_ns);
    hist_init(&run->stats.flushes.latency_ns);

    const struct perf_session_config sc = {
        .ops = &session_ops,
        .ctx = run,
        .reactor = config->reactor,
        .endpoint = config->endpoint,
        .log = config->log,
        .connections = config->connections,
        .depth = config->depth,
        .reconnect_ns = config->reconnect_ns,
    };
    const struct status st = perf_session_create(&sc, &run->session);
    if (!status_ok(st)) {
        perf_run_destroy(run);
        return st;
    }
    *out_run = run;
    return st;
}

void perf_run_start(struct perf_run *run)
{
    sm_move(&run->sm, PERF_RUN_CONNECTING);
    perf_session_start(run->session);
}

void perf_run_stop(struct perf_run *run)
{
    if (run->sm.now == PERF_RUN_CONNECTING)
        close_session(run);
    else
        perf_run_drain(run);
}

void perf_run_destroy(struct perf_run *run)
{
    if (run == NULL)
        return;
    assert(run->sm.now == PERF_RUN_IDLE || run->sm.now == PERF_RUN_ENDED);
    perf_slots_destroy(run);
    perf_verify_destroy(run->verify);
    perf_state_close(run->own_state);
    perf_session_destroy(run->session);
    free(run);
}
