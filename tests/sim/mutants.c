/* SPDX-License-Identifier: Apache-2.0 */
#include "mutants.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

struct mutant {
    const char *name;
    const char *rule;
    const char *text;
};

static const struct mutant mutants[MUTATION_COUNT] = {
#define MUTANT(name, rule, text) [MUTATION_##name] = { #name, rule, text },
    MUTATION_TABLE(MUTANT)
#undef MUTANT
};

/* What a child has done so far; it dies when it has found the bug. */
struct progress {
    uint64_t seeds;
    uint64_t seed;
    unsigned workload;
};

const char *mutant_name(enum mutation mutation)
{
    return mutants[mutation].name;
}

enum mutation mutant_find(const char *name)
{
    for (unsigned m = 1; m < MUTATION_COUNT; m++)
        if (strcmp(mutants[m].name, name) == 0)
            return (enum mutation)m;
    fprintf(stderr, "trilith-sim: no mutation '%s'; there are:", name);
    for (unsigned m = 1; m < MUTATION_COUNT; m++)
        fprintf(stderr, " %s", mutants[m].name);
    fprintf(stderr, "\n");
    exit(2);
}

static bool hunts(unsigned workload, uint32_t only, const struct mutant *m)
{
    if (only != 0 && (only >> workload & 1) == 0)
        return false;
    const char *const at = strstr(workloads[workload]->rules, m->rule);
    return at != NULL && (at[strlen(m->rule)] == ' ' || at[strlen(m->rule)] == '\0');
}

/* Whether a second run of the seed differs: what T1 forbids. */
static void hunt_seed(const struct workload *w, uint64_t seed)
{
    const uint64_t hash = run_seed(w, seed, false);
    if (mutation_active == MUTATION_T1_REAL_CLOCK && run_seed(w, seed, false) != hash)
        abort();
}

/* In the child: returns if the bug was not found. */
static void hunt(uint32_t only, enum mutation m, uint64_t seeds_max, struct progress *p)
{
    mutation_active = m;
    for (uint64_t seed = 1; seed <= seeds_max; seed++) {
        p->seed = seed;
        for (unsigned w = 0; workloads[w] != NULL; w++) {
            if (!hunts(w, only, &mutants[m]))
                continue;
            p->workload = w;
            p->seeds++;
            hunt_seed(workloads[w], seed);
        }
        if (p->seeds == 0)
            return;
    }
}

static pid_t hunt_start(uint32_t only, enum mutation m, uint64_t seeds_max, struct progress *p)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDERR_FILENO);
    hunt(only, m, seeds_max, p);
    _exit(0);
}

/* Whether the seed fails without any mutation: then it proves nothing. */
static bool fails_anyway(const struct progress *p)
{
    fflush(NULL);
    const pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        mutation_active = MUTATION_NONE;
        run_seed(workloads[p->workload], p->seed, false);
        _exit(0);
    }
    return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

static bool report(enum mutation m, const struct progress *p, int status)
{
    const struct mutant *const it = &mutants[m];

    if (p->seeds == 0) {
        printf("%-24s %-3s NO WORKLOAD looks for it (%s)\n", it->name, it->rule, it->text);
        return false;
    }
    if (status == 0) {
        printf("%-24s %-3s NOT FOUND in %" PRIu64 " seeds (%s)\n", it->name, it->rule, p->seeds,
               it->text);
        return false;
    }
    if (fails_anyway(p)) {
        printf("%-24s %-3s PROVES NOTHING: %s, seed %" PRIu64 " fails without it too\n", it->name,
               it->rule, workloads[p->workload]->name, p->seed);
        return false;
    }
    printf("%-24s %-3s found by %-6s after %4" PRIu64 " seeds (%s)\n", it->name, it->rule,
           workloads[p->workload]->name, p->seeds, it->text);
    return true;
}

/* Waits for any of the children, and keeps its status: returns false if there is none. */
static bool hunt_end(const pid_t *pids, int *status, bool *ended)
{
    int how = 0;
    const pid_t pid = waitpid(-1, &how, 0);

    for (unsigned m = 1; m < MUTATION_COUNT && pid > 0; m++) {
        if (pids[m] != pid)
            continue;
        status[m] = how;
        ended[m] = true;
        return true;
    }
    return false;
}

int mutants_prove(uint32_t only, uint64_t seeds_max, unsigned jobs)
{
    pid_t pids[MUTATION_COUNT] = { 0 };
    int status[MUTATION_COUNT] = { 0 };
    bool ended[MUTATION_COUNT] = { false };
    unsigned started = 1, running = 0;
    bool all = true;
    struct progress *const p = mmap(NULL, sizeof *p * MUTATION_COUNT, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return 1;
    printf("%-24s rule\n", "mutation");
    /* Told in the order of the table; while one takes long, those behind it go on. */
    for (unsigned m = 1; m < MUTATION_COUNT; m++) {
        while (!ended[m]) {
            for (; started < MUTATION_COUNT && running < jobs; started++, running++)
                pids[started] = hunt_start(only, (enum mutation)started, seeds_max, &p[started]);
            if (!hunt_end(pids, status, ended))
                return 1;
            running--;
        }
        all &= report((enum mutation)m, &p[m], status[m]);
    }
    return all ? 0 : 1;
}
