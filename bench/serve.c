/* SPDX-License-Identifier: Apache-2.0 */
#include "serve.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "io/uring.h"

static struct reactor *to_stop; /* For the signal's handler, which is given nothing. */

static void on_signal(int number)
{
    (void)number;
    reactor_stop(to_stop); /* Two atomics and a write(): safe here. */
}

static void log_to_stderr(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

void serve_check(struct status st, const char *what)
{
    if (status_ok(st))
        return;
    fprintf(stderr, "%s: %s\n", what, status_text(st));
    exit(1);
}

static uint64_t spin_parse(const char *text)
{
    if (strcmp(text, "off") == 0)
        return URING_SPIN_OFF;
    if (strcmp(text, "auto") == 0)
        return URING_SPIN_AUTO;
    return strtoull(text, NULL, 10) * NS_PER_US;
}

void serve_init(struct serve *s, int argc, char **argv)
{
    static struct log log = { .level = LOG_LEVEL_WARNING, .sink = log_to_stderr };
    struct uring_config config = { .log = &log };
    const char *address = "127.0.0.1:0";

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--spin") == 0 && i + 1 < argc)
            config.spin_ns = spin_parse(argv[++i]);
        else
            address = argv[i];
    }
    *s = (struct serve) { 0 };
    serve_check(io_addr_parse(address, 0, &s->listen), address);
    serve_check(uring_reactor_create(&config, &s->reactor), "the reactor");
    to_stop = s->reactor;
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
}

void serve_run(struct serve *s, const struct io_addr *bound)
{
    struct rusage usage;
    const struct reactor_stats *const stats = &s->reactor->stats;

    printf("listening on %s\n", io_addr_format(bound).s);
    fflush(stdout);
    reactor_run(s->reactor);

    getrusage(RUSAGE_SELF, &usage);
    const int64_t cpu_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    printf("{\"ops\": %" PRIu64 ", \"turns\": %" PRIu64 ", \"sleeps\": %" PRIu64
           ", \"syscalls\": %" PRIu64 ", \"cpu_us\": %" PRId64 ", \"ios\": %" PRIu64 "}\n",
           stats->ops, stats->turns, stats->sleeps, stats->syscalls, cpu_us, s->ios);
}
