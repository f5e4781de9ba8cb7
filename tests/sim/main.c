/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trilith-sim: runs workloads in simulated worlds, one per seed.
 *
 *   trilith-sim --seeds 1000                     that many seeds of every workload
 *   trilith-sim --seconds 3600                   as many as fit
 *   trilith-sim --workload store --seed 7 --trace    one run, with everything that happened
 *   trilith-sim --mutations                      proves that each deliberate bug is found
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mutants.h"
#include "run.h"

#define JOBS_MAX 64
/* One seed in so many is run twice, and must give the same trace (T1). */
#define TWICE_ONE_IN 16

struct options {
    uint32_t only; /* Workloads, a bit each; 0: all. */
    enum mutation mutation;
    uint64_t first;
    uint64_t seeds;
    uint64_t seconds;
    unsigned jobs;
    bool one;
    bool trace;
    bool mutations;
};

/* What the jobs share with their parent. */
struct shared {
    _Atomic uint64_t next;
    _Atomic uint64_t done;
    _Atomic bool stop; /* One has failed: the others end after their current seed. */
    struct {
        _Atomic uint64_t seed;
        _Atomic unsigned workload;
    } job[JOBS_MAX];
};

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool wanted(const struct options *o, unsigned workload)
{
    return o->only == 0 || (o->only >> workload & 1) != 0;
}

/* Runs a seed, once or twice, and compares the traces. */
static void run_checked(const struct workload *w, uint64_t seed, bool twice)
{
    const uint64_t hash = run_seed(w, seed, false);
    if (twice && run_seed(w, seed, false) != hash) {
        fprintf(stderr, "sim: %s, seed %" PRIu64 ": a second run took another course (T1)\n",
                w->name, seed);
        abort();
    }
}

static void run_all(const struct options *o, struct shared *s, unsigned job, uint64_t seed)
{
    for (unsigned w = 0; workloads[w] != NULL; w++) {
        if (!wanted(o, w))
            continue;
        s->job[job].workload = w;
        run_checked(workloads[w], seed, seed % TWICE_ONE_IN == 0);
        s->done++;
    }
}

static void job_main(const struct options *o, struct shared *s, unsigned job, double until_s)
{
    mutation_active = o->mutation;
    while (!s->stop) {
        const uint64_t n = s->next++;
        if (o->seconds == 0 ? n >= o->seeds : now_s() >= until_s)
            return;
        s->job[job].seed = o->first + n;
        run_all(o, s, job, o->first + n);
    }
}

static void print_failure(const struct options *o, const struct workload *w, uint64_t seed,
                          int status)
{
    const bool mutated = o->mutation != MUTATION_NONE;
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT)
        printf("The process was ended by signal %d.\n", WTERMSIG(status));
    printf("FAILED: workload %s, seed %" PRIu64 "\n", w->name, seed);
    printf("replay: build/tests/sim/trilith-sim --workload %s --seed %" PRIu64 "%s%s --trace\n",
           w->name, seed, mutated ? " --mutation " : "", mutated ? mutant_name(o->mutation) : "");
}

static struct shared *shared_create(void)
{
    void *const at = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return at;
}

static int run_jobs(const struct options *o)
{
    struct shared *const s = shared_create();
    const double started_s = now_s();
    pid_t pids[JOBS_MAX];
    bool failed = false;

    for (unsigned i = 0; i < o->jobs; i++) {
        pids[i] = fork();
        if (pids[i] < 0) {
            perror("fork");
            exit(1);
        }
        if (pids[i] == 0) {
            job_main(o, s, i, started_s + (double)o->seconds);
            _exit(0);
        }
    }
    for (unsigned left = o->jobs; left > 0; left--) {
        int status = 0;
        const pid_t pid = wait(&status);
        if (pid < 0 || status == 0)
            continue;
        s->stop = true;
        failed = true;
        for (unsigned i = 0; i < o->jobs; i++)
            if (pids[i] == pid)
                print_failure(o, workloads[s->job[i].workload], s->job[i].seed, status);
    }
    const double took_s = now_s() - started_s;
    printf("%" PRIu64 " runs in %.1f s, %.0f runs per second\n", s->done, took_s,
           (double)s->done / took_s);
    return failed ? 1 : 0;
}

/* One run in this process, so that a debugger and the trace see it. */
static int run_one(const struct options *o)
{
    mutation_active = o->mutation;
    for (unsigned w = 0; workloads[w] != NULL; w++)
        if (wanted(o, w))
            printf("%s: seed %" PRIu64 ": trace %016" PRIx64 "\n", workloads[w]->name, o->first,
                   run_seed(workloads[w], o->first, o->trace));
    return 0;
}

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    const uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || *text == '\0' || *end != '\0') {
        fprintf(stderr, "trilith-sim: '%s' is not a number\n", text);
        exit(2);
    }
    return value;
}

static uint32_t workload_bit(const char *name)
{
    for (unsigned w = 0; workloads[w] != NULL; w++)
        if (strcmp(workloads[w]->name, name) == 0)
            return UINT32_C(1) << w;
    fprintf(stderr, "trilith-sim: no workload '%s'; there are:", name);
    for (unsigned w = 0; workloads[w] != NULL; w++)
        fprintf(stderr, " %s", workloads[w]->name);
    fprintf(stderr, "\n");
    exit(2);
}

static void usage(void)
{
    fprintf(stderr,
            "usage: trilith-sim [--seeds N | --seconds S | --seed X] [--first X] [--jobs N]\n"
            "                   [--workload NAME]... [--mutation NAME] [--trace]\n"
            "       trilith-sim --mutations [--seeds N] [--jobs N]\n");
    exit(2);
}

static const struct option long_options[] = {
    { "seeds", required_argument, NULL, 'n' },    { "seconds", required_argument, NULL, 's' },
    { "seed", required_argument, NULL, 'x' },     { "first", required_argument, NULL, 'f' },
    { "jobs", required_argument, NULL, 'j' },     { "workload", required_argument, NULL, 'w' },
    { "mutation", required_argument, NULL, 'm' }, { "mutations", no_argument, NULL, 'M' },
    { "trace", no_argument, NULL, 't' },          { 0 },
};

static void option_set(struct options *o, int option)
{
    switch (option) {
    case 'n':
        o->seeds = number(optarg);
        return;
    case 's':
        o->seconds = number(optarg);
        return;
    case 'x':
        o->first = number(optarg);
        o->one = true;
        return;
    case 'f':
        o->first = number(optarg);
        return;
    case 'j':
        o->jobs = (unsigned)min_u64(max_u64(number(optarg), 1), JOBS_MAX);
        return;
    case 'w':
        o->only |= workload_bit(optarg);
        return;
    case 'm':
        o->mutation = mutant_find(optarg);
        return;
    case 'M':
        o->mutations = true;
        return;
    case 't':
        o->trace = true;
        return;
    default:
        usage();
    }
}

int main(int argc, char **argv)
{
    const struct rlimit no_core = { 0, 0 };
    struct options o = { .seeds = 200,
                         .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                         .first = 1 };
    int option;

    setrlimit(RLIMIT_CORE, &no_core);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        option_set(&o, option);
    if (optind != argc)
        usage();
    if (o.jobs > JOBS_MAX)
        o.jobs = JOBS_MAX;
    if (o.mutations)
        return mutants_prove(o.only, o.seeds, o.jobs);
    return o.one ? run_one(&o) : run_jobs(&o);
}
