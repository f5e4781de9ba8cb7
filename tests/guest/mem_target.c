/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem-target: an NVMe/TCP target over memory, to try a host's initiator against.
 *
 *     mem-target [--listen ADDR[:PORT]] [--advertise ADDR[:PORT]] [--size SIZE]
 *                [--reactors N] [--nqn NQN] [--allow-host NQN] [--debug]
 *
 * Prints "listening ADDR:PORT" when it is ready and runs until it is killed or its standard
 * input ends.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/size.h"
#include "common/mem_ns.h"
#include "io/buf.h"
#include "io/uring.h"
#include "nvme/target.h"

#define REACTORS_MAX 64
#define POOL_BYTES   ((size_t)128 << 20)

struct options {
    const char *listen;
    const char *advertise;
    const char *size;
    const char *nqn;
    const char *host;
    unsigned reactors;
    bool debug;
};

static void log_to_stderr(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

static struct log log_stderr = { .level = LOG_LEVEL_INFO, .sink = log_to_stderr };

static void must(struct status st, const char *what)
{
    if (status_ok(st))
        return;
    fprintf(stderr, "mem-target: %s: %s\n", what, status_text(st));
    exit(1);
}

static void *run_reactor(void *arg)
{
    reactor_run(arg);
    return NULL;
}

static void *wait_for_end(void *arg)
{
    char byte;

    (void)arg;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    exit(0);
}

static struct options parse_options(int argc, char **argv)
{
    static const struct option longs[] = {
        { "listen", required_argument, NULL, 'l' }, { "advertise", required_argument, NULL, 'a' },
        { "size", required_argument, NULL, 's' },   { "reactors", required_argument, NULL, 'r' },
        { "nqn", required_argument, NULL, 'n' },    { "allow-host", required_argument, NULL, 'h' },
        { "debug", no_argument, NULL, 'd' },        { 0 },
    };
    struct options o = {
        .listen = "127.0.0.1:0", .size = "1G", .nqn = NQN_VOLUME_PREFIX "mem", .reactors = 1
    };

    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'l':
            o.listen = optarg;
            break;
        case 'a':
            o.advertise = optarg;
            break;
        case 's':
            o.size = optarg;
            break;
        case 'r':
            o.reactors = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            o.nqn = optarg;
            break;
        case 'h':
            o.host = optarg;
            break;
        case 'd':
            o.debug = true;
            break;
        default:
            exit(2);
        }
    }
    if (o.reactors == 0 || o.reactors > REACTORS_MAX) {
        fprintf(stderr, "mem-target: --reactors: 1 to %d\n", REACTORS_MAX);
        exit(2);
    }
    return o;
}

static void add_subsystem(struct nvme_target *target, struct mem_ns *mem, const struct options *o)
{
    const struct nvme_subsys_config config = {
        .nqn = o->nqn,
        .serial = "MEM0001",
        .ns = &mem->ns,
        .hosts = &o->host,
        .host_count = o->host != NULL ? 1 : 0,
    };
    struct nvme_subsys *subsys;

    must(nvme_subsys_add(target, &config, &subsys), "subsystem");
}

static void listen_on(struct nvme_target *target, const struct options *o)
{
    struct io_addr on;
    struct io_addr bound;
    struct io_addr advertise;

    must(io_addr_parse(o->listen, 0, &on), o->listen);
    if (o->advertise != NULL)
        must(io_addr_parse(o->advertise, 0, &advertise), o->advertise);
    must(nvme_target_listen(target, &on, o->advertise != NULL ? &advertise : NULL, &bound),
         o->listen);
    printf("listening %s\n", io_addr_format(&bound).s);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct options o = parse_options(argc, argv);
    struct reactor *reactors[REACTORS_MAX];
    struct buf_pool *pools[REACTORS_MAX];
    struct nvme_target *target;
    struct mem_ns mem;
    uint64_t bytes;
    pthread_t thread;

    log_stderr.level = o.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
    must(size_parse(o.size, &bytes), o.size);
    must(mem_ns_init(&mem, bytes, 4096), "namespace");
    for (unsigned i = 0; i < o.reactors; i++) {
        const struct uring_config config = { .index = i,
                                             .spin_ns = URING_SPIN_AUTO,
                                             .log = &log_stderr };

        must(uring_reactor_create(&config, &reactors[i]), "reactor");
        must(buf_pool_create(reactors[i], POOL_BYTES, &pools[i]), "buffer pool");
    }
    const struct nvme_target_config config = { .reactors = reactors,
                                               .pools = pools,
                                               .reactor_count = o.reactors };
    must(nvme_target_create(&config, &target), "target");
    add_subsystem(target, &mem, &o);
    listen_on(target, &o);
    for (unsigned i = 1; i < o.reactors; i++)
        pthread_create(&thread, NULL, run_reactor, reactors[i]);
    pthread_create(&thread, NULL, wait_for_end, NULL);
    reactor_run(reactors[0]);
    return 0;
}
