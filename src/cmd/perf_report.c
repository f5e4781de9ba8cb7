/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/size.h"
#include "base/span.h"

/* The figures of one kind of I/O, for both forms of output. */
struct figures {
    uint64_t ios;
    double iops;
    double mb_per_s; /* 10^6 bytes. */
    double mean_us;
    double p50_us, p90_us, p99_us, p999_us, max_us;
};

static double to_us(uint64_t ns)
{
    return (double)ns / 1000.0;
}

static struct figures figures_of(const struct perf_counts *c, uint64_t elapsed_ns)
{
    const struct hist *h = &c->latency_ns;
    const double seconds = (double)elapsed_ns / 1e9;

    return (struct figures) {
        .ios = h->count,
        .iops = seconds > 0 ? (double)h->count / seconds : 0,
        .mb_per_s = seconds > 0 ? (double)c->bytes / 1e6 / seconds : 0,
        .mean_us = hist_mean(h) / 1000.0,
        .p50_us = to_us(hist_percentile(h, 500000)),
        .p90_us = to_us(hist_percentile(h, 900000)),
        .p99_us = to_us(hist_percentile(h, 990000)),
        .p999_us = to_us(hist_percentile(h, 999000)),
        .max_us = to_us(h->count > 0 ? h->max : 0),
    };
}

static uint64_t ios_of(const struct perf_stats *s)
{
    return s->reads.latency_ns.count + s->writes.latency_ns.count + s->flushes.latency_ns.count;
}

static double per_io(uint64_t value, const struct perf_stats *s)
{
    const uint64_t ios = ios_of(s);
    return ios > 0 ? (double)value / (double)ios : 0;
}

/* ---- JSON ---- */

static json_t *json_kind(const struct perf_counts *c, uint64_t elapsed_ns)
{
    const struct figures f = figures_of(c, elapsed_ns);

    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "ios", (json_int_t)f.ios,
                     "bytes", (json_int_t)c->bytes, "iops", f.iops, "mb_per_s", f.mb_per_s,
                     "latency_mean_us", f.mean_us, "latency_p50_us", f.p50_us, "latency_p90_us",
                     f.p90_us, "latency_p99_us", f.p99_us, "latency_p999_us", f.p999_us,
                     "latency_max_us", f.max_us);
}

static json_t *json_verify(const struct perf_verify_counts *v)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "blocks_checked", (json_int_t)v->blocks_checked,
                     "blocks_wrong", (json_int_t)v->blocks_wrong, "blocks_unwritten",
                     (json_int_t)v->blocks_unwritten, "writes_unknown",
                     (json_int_t)v->writes_unknown);
}

static void report_json(const struct perf_options *o, const struct perf_stats *s, bool failed)
{
    json_t *root = json_pack(
        "{s:s, s:s, s:i, s:I, s:i, s:i, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:b}", "volume",
        o->volume, "rw", perf_rw_name(o->rw), "read_percent", (int)o->read_percent,
        "block_size_bytes", (json_int_t)o->block_bytes, "depth", (int)o->depth, "connections",
        (int)o->connections, "elapsed_s", (double)s->elapsed_ns / 1e9, "cpu_per_io_us",
        to_us(s->cpu_ns) * per_io(1, s), "syscalls_per_io", per_io(s->syscalls, s), "errors",
        (json_int_t)s->errors, "lost", (json_int_t)s->lost, "reconnects", (json_int_t)s->reconnects,
        "down_s", (double)s->down_ns / 1e9, "failed", (int)failed);

    (void)json_object_set_new(root, "read", json_kind(&s->reads, s->elapsed_ns));
    (void)json_object_set_new(root, "write", json_kind(&s->writes, s->elapsed_ns));
    (void)json_object_set_new(root, "flush", json_kind(&s->flushes, s->elapsed_ns));
    if (o->verify)
        (void)json_object_set_new(root, "verify", json_verify(&s->verify));
    (void)json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(root);
}

/* ---- Text ---- */

static void print_kind(const char *name, const struct perf_counts *c, uint64_t elapsed_ns)
{
    const struct figures f = figures_of(c, elapsed_ns);

    if (f.ios == 0)
        return;
    printf("%-6s %10.0f %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f\n", name, f.iops, f.mb_per_s,
           f.mean_us, f.p50_us, f.p90_us, f.p99_us, f.p999_us, f.max_us);
}

static void report_table(const struct perf_options *o, const struct perf_stats *s, bool failed)
{
    printf("%s of '%s': blocks of %s, depth %u, connections %u, %.2f s\n\n", perf_rw_name(o->rw),
           o->volume, size_format(o->block_bytes).s, o->depth, o->connections,
           (double)s->elapsed_ns / 1e9);
    printf("%-6s %10s %9s %9s %9s %9s %9s %9s %9s\n", "", "IOPS", "MB/s", "mean us", "p50 us",
           "p90 us", "p99 us", "p99.9 us", "max us");
    print_kind("read", &s->reads, s->elapsed_ns);
    print_kind("write", &s->writes, s->elapsed_ns);
    print_kind("flush", &s->flushes, s->elapsed_ns);

    printf("\nCPU per I/O: %.2f us; system calls per I/O: %.3f; errors: %" PRIu64 "\n",
           to_us(s->cpu_ns) * per_io(1, s), per_io(s->syscalls, s), s->errors);
    if (s->reconnects > 0 || s->lost > 0)
        printf("reconnections: %" PRIu64 ", %.2f s without connection; I/Os of unknown fate: "
               "%" PRIu64 "\n",
               s->reconnects, (double)s->down_ns / 1e9, s->lost);
    if (o->verify)
        printf("verified: %" PRIu64 " blocks, %" PRIu64 " wrong (%" PRIu64
               " never acknowledged; last write of unknown fate: %" PRIu64 ")\n",
               s->verify.blocks_checked, s->verify.blocks_wrong, s->verify.blocks_unwritten,
               s->verify.writes_unknown);
    if (failed)
        printf("the run FAILED\n");
}

void perf_report(const struct perf_options *options, const struct perf_stats *stats, bool failed)
{
    if (options->format == CLI_FORMAT_JSON)
        report_json(options, stats, failed);
    else
        report_table(options, stats, failed);
    (void)fflush(stdout);
}

/* ---- Progress ---- */

void perf_report_progress(const struct perf_stats *now, const struct perf_stats *before)
{
    const double seconds = (double)(now->elapsed_ns - before->elapsed_ns) / 1e9;
    const double ios = (double)(ios_of(now) - ios_of(before));
    const double bytes =
        (double)(now->reads.bytes + now->writes.bytes - before->reads.bytes - before->writes.bytes);

    if (seconds <= 0)
        return;
    fprintf(stderr, "\r%6.0f s  %9.0f IOPS  %8.1f MB/s  %" PRIu64 " errors ",
            (double)now->elapsed_ns / 1e9, ios / seconds, bytes / 1e6 / seconds, now->errors);
}

void perf_report_progress_end(void)
{
    fprintf(stderr, "\r%70s\r", "");
}
