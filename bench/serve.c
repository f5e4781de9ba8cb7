/* SPDX-License-Identifier: Apache-2.0 */
#include "serve.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/size.h"
#include "io/uring.h"

#define VOLUME_BYTES_DEFAULT ((uint64_t)1 << 30)

static void watched_signals(sigset_t *out_set)
{
    sigemptyset(out_set);
    sigaddset(out_set, SIGTERM);
    sigaddset(out_set, SIGINT);
    sigaddset(out_set, SIGUSR1);
}

/* Waits for signals, so that the reactor's thread is not interrupted and no handler is needed. */
static void *wait_for_signals(void *arg)
{
    struct serve *const s = arg;
    sigset_t set;
    int number;

    watched_signals(&set);
    while (sigwait(&set, &number) == 0) {
        if (number != SIGUSR1)
            break;
        if (!atomic_exchange(&s->reporting, true))
            reactor_post(s->reactor, &s->report);
    }
    reactor_stop(s->reactor);
    return NULL;
}

/* What all reactors have done. */
static struct reactor_stats add_stats(const struct serve *s)
{
    struct reactor_stats all = { 0 };

    for (unsigned i = 0; i < s->reactor_count; i++) {
        const struct reactor_stats *const one = &s->reactors[i]->stats;
        all.ops += one->ops;
        all.turns += one->turns;
        all.sleeps += one->sleeps;
        all.syscalls += one->syscalls;
    }
    return all;
}

/* Writes by the part of the disk, and how many checkpoints each disk has made. */
static void print_hollows(const struct serve *s)
{
    static const char *const names[HOLLOW_PARTS] = { "superblock", "journal", "checkpoint", "sums",
                                                     "data" };

    for (unsigned part = 0; part < HOLLOW_PARTS; part++) {
        uint64_t writes = 0;
        for (unsigned i = 0; i < SERVE_DEVICES_MAX; i++)
            writes += s->hollows[i] != NULL ? s->hollows[i]->writes[part] : 0;
        printf(", \"%s_writes\": %" PRIu64, names[part], writes);
    }
    printf(", \"checkpoints\": [");
    for (unsigned i = 0; i < SERVE_DEVICES_MAX; i++) {
        if (s->hollows[i] != NULL)
            printf("%s%" PRIu64, i > 0 ? ", " : "", s->hollows[i]->checkpoints);
    }
    printf("]");
}

static void report(struct io_msg *msg)
{
    struct serve *const s = CONTAINER_OF(msg, struct serve, report);
    const struct reactor_stats stats = add_stats(s);
    struct rusage usage;
    uint64_t writes = 0, flushes = 0;

    /* Before the answer: whoever reads it may ask again at once. */
    atomic_store(&s->reporting, false);
    getrusage(RUSAGE_SELF, &usage);
    const int64_t cpu_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    for (unsigned i = 0; i < SERVE_DEVICES_MAX; i++) {
        writes += s->devices[i] != NULL ? s->devices[i]->writes : 0;
        flushes += s->devices[i] != NULL ? s->devices[i]->flushes : 0;
    }
    printf("{\"ops\": %" PRIu64 ", \"turns\": %" PRIu64 ", \"sleeps\": %" PRIu64
           ", \"syscalls\": %" PRIu64 ", \"cpu_us\": %" PRId64 ", \"device_writes\": %" PRIu64
           ", \"device_flushes\": %" PRIu64,
           stats.ops, stats.turns, stats.sleeps, stats.syscalls, cpu_us, writes, flushes);
    if (s->hollow)
        print_hollows(s);
    printf("}\n");
    fflush(stdout);
}

static void log_to_stderr(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

static void start_signals(struct serve *s)
{
    sigset_t set;
    pthread_t thread;

    watched_signals(&set);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
        pthread_create(&thread, NULL, wait_for_signals, s) != 0)
        abort();
    pthread_detach(thread);
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

static uint64_t mask_parse(const char *list)
{
    uint64_t features;

    serve_check(uring_features_parse(list, &features), list);
    return URING_FEATURES_ALL & ~features;
}

static void create_reactors(struct serve *s, struct uring_config *config)
{
    for (unsigned i = 0; i < s->reactor_count; i++) {
        config->index = i;
        serve_check(uring_reactor_create(config, &s->reactors[i]), "the reactor");
    }
    s->reactor = s->reactors[0];
}

/* Takes an option with a value; false if it is none. */
static bool take_value(struct serve *s, struct uring_config *config, const char *name,
                       const char *value)
{
    if (strcmp(name, "--spin") == 0)
        config->spin_ns = spin_parse(value);
    else if (strcmp(name, "--io-features") == 0)
        config->features_mask = mask_parse(value);
    else if (strcmp(name, "--disks") == 0)
        s->folder = value;
    else if (strcmp(name, "--reactors") == 0)
        s->reactor_count = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(name, "--volume-size") == 0)
        serve_check(size_parse(value, &s->volume_bytes), value);
    else
        return false;
    return true;
}

void serve_init(struct serve *s, int argc, char **argv)
{
    static struct log log = { .level = LOG_LEVEL_WARNING, .sink = log_to_stderr };
    struct uring_config config = { .log = &log };
    const char *address = "127.0.0.1:0";

    *s = (struct serve) { .report.deliver = report,
                          .reactor_count = 1,
                          .volume_bytes = VOLUME_BYTES_DEFAULT };
    for (int i = 1; i < argc; i++) {
        if (i + 1 < argc && take_value(s, &config, argv[i], argv[i + 1]))
            i++;
        else if (strcmp(argv[i], "--hollow") == 0)
            s->hollow = true;
        else
            address = argv[i];
    }
    if (s->reactor_count == 0 || s->reactor_count > SERVE_REACTORS_MAX)
        serve_check(STATUS(INVALID), "--reactors");
    serve_check(io_addr_parse(address, 0, &s->listen), address);
    create_reactors(s, &config);
    start_signals(s);
}

void serve_listening(const struct io_addr *bound)
{
    printf("listening on %s\n", io_addr_format(bound).s);
    fflush(stdout);
}

static void *run_reactor(void *arg)
{
    reactor_run(arg);
    return NULL;
}

void serve_run(struct serve *s)
{
    for (unsigned i = 1; i < s->reactor_count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_reactor, s->reactors[i]) != 0)
            abort();
        pthread_detach(thread);
    }
    reactor_run(s->reactor);
}
