/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: their start, their descriptors, and their death (F4 to F7). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/sim_internal.h"

#define FDS_MAX 4096

/* ---- Descriptors ---- */

static void fds_grow(struct sim_process *p)
{
    struct sim_world *const w = sim_process_world(p);
    const size_t count = p->fd_count == 0 ? 16 : p->fd_count * 2;

    struct sim_reactor *const before = sim_enter(w, NULL);
    p->fds = realloc(p->fds, count * sizeof *p->fds);
    assert(p->fds != NULL);
    memset(p->fds + p->fd_count, 0, (count - p->fd_count) * sizeof *p->fds);
    p->fd_count = count;
    sim_enter(w, before);
}

int sim_fd_alloc(struct sim_process *p, enum sim_fd_kind kind, struct sim_reactor *reactor,
                 void *object)
{
    size_t fd = 3; /* After the standard streams, as everywhere. */

    while (fd < p->fd_count && p->fds[fd].kind != SIM_FD_FREE)
        fd++;
    if (fd == FDS_MAX)
        return -EMFILE;
    while (fd >= p->fd_count)
        fds_grow(p);
    p->fds[fd] = (struct sim_fd) { .kind = kind, .reactor = reactor, .object = object };
    return (int)fd;
}

struct sim_fd *sim_fd_get(struct sim_reactor *r, int fd)
{
    struct sim_process *const p = r->process;

    if (fd < 0 || (size_t)fd >= p->fd_count || p->fds[fd].kind == SIM_FD_FREE)
        sim_bug(sim_process_world(p), "a descriptor that is not open");
    if (p->fds[fd].reactor != r)
        sim_bug(sim_process_world(p), "a descriptor of another reactor");
    return &p->fds[fd];
}

static void fds_close_all(struct sim_process *p, bool silent)
{
    for (size_t fd = 0; fd < p->fd_count; fd++) {
        struct sim_fd *const f = &p->fds[fd];
        if (f->kind == SIM_FD_FILE)
            sim_disk_close(p, f);
        else if (f->kind != SIM_FD_FREE)
            sim_net_close(p, f, silent);
        f->kind = SIM_FD_FREE;
    }
}

/* ---- Life and death ---- */

static void process_log(struct log *log, enum log_level level, const char *line)
{
    struct sim_process *const p = log->ctx;
    sim_trace_text(sim_process_world(p), log_level_name(level), line);
}

static void process_main(struct io_msg *msg)
{
    /* The message is the process's first; it stands in world memory behind the process. */
    struct sim_process *const p = *(struct sim_process **)(void *)(msg + 1);
    p->program.main(p, p->program.ctx);
}

/* The first message: calls main() inside a turn of reactor 0. */
static void process_post_main(struct sim_process *p)
{
    struct io_msg *const msg = sim_world_alloc(sim_process_world(p), sizeof *msg + sizeof p);

    msg->deliver = process_main;
    memcpy(msg + 1, &p, sizeof p);
    reactor_post(&p->reactors[0].base, msg);
}

struct sim_process *sim_spawn(struct sim_machine *m, const struct sim_program *program)
{
    struct sim_world *const w = m->world;
    struct sim_reactor *const before = sim_enter(w, NULL);

    assert(m->on);
    assert(program->reactors >= 1 && program->reactors <= SIM_REACTORS_MAX);
    struct sim_process *const p = calloc(1, sizeof *p);
    assert(p != NULL);
    p->machine = m;
    p->program = *program;
    p->owner = w->owner_next++;
    p->alive = true;
    snprintf(p->name, sizeof p->name, "%s", program->name);
    list_node_init(&p->link);
    list_push_back(&m->processes, &p->link);
    for (unsigned i = 0; i < program->reactors; i++) {
        sim_reactor_init(&p->reactors[i], p, i);
        p->reactors[i].log = (struct log) { w->config.log_level, process_log, p };
    }
    sim_trace_text(w, "spawn", p->name);
    if (program->main != NULL)
        process_post_main(p);
    sim_enter(w, before);
    return p;
}

struct reactor *sim_reactor_create(struct sim_machine *m, unsigned index)
{
    const struct sim_program program = { .name = "reactor", .reactors = 1 };
    struct sim_process *const p = sim_spawn(m, &program);

    p->reactors[0].base.index = index;
    return &p->reactors[0].base;
}

void sim_process_end(struct sim_process *p, enum sim_exit how)
{
    struct sim_world *const w = sim_process_world(p);
    static const char *const tags[] = { "stopped", "killed", "power lost" };

    assert(p->alive);
    struct sim_reactor *const before = sim_enter(w, NULL);
    sim_trace_text(w, tags[how], p->name);
    p->alive = false;
    sim_disk_process_died(p);
    for (unsigned i = 0; i < p->program.reactors; i++)
        sim_reactor_drop(&p->reactors[i]);
    fds_close_all(p, how == SIM_EXIT_POWER);
    if (w->config.memory != NULL)
        w->config.memory->drop(w->config.memory->ctx, p->owner);
    if (p->program.ended != NULL)
        p->program.ended(p, how, p->program.ctx);
    sim_enter(w, before);
}

void sim_process_kill(struct sim_process *p)
{
    struct sim_world *const w = sim_process_world(p);

    assert(w->current == NULL || w->current->process != p);
    if (p->alive)
        sim_process_end(p, SIM_EXIT_KILLED);
}

void sim_machine_power_off(struct sim_machine *m)
{
    if (!m->on)
        return;
    sim_trace_text(m->world, "power off", m->name);
    m->on = false;
    sim_disk_machine_lost_power(m); /* First: what was in flight is torn, not settled by F5. */
    LIST_FOR_EACH (n, &m->processes) {
        struct sim_process *const p = CONTAINER_OF(n, struct sim_process, link);
        if (p->alive)
            sim_process_end(p, SIM_EXIT_POWER);
    }
    sim_net_machine_lost_power(m);
}

void sim_process_crash_after(struct sim_process *p, uint64_t callbacks, bool power)
{
    p->crash_armed = true;
    p->crash_power = power;
    p->crash_after = callbacks;
}

bool sim_process_survives(struct sim_process *p)
{
    if (!p->crash_armed)
        return true;
    if (p->crash_after-- > 0)
        return true;
    p->crash_armed = false;
    struct sim_reactor *const before = sim_enter(sim_process_world(p), NULL);
    if (p->crash_power)
        sim_machine_power_off(p->machine);
    else
        sim_process_end(p, SIM_EXIT_KILLED);
    sim_enter(sim_process_world(p), before);
    return false;
}

void sim_process_pause(struct sim_process *p)
{
    sim_trace_text(sim_process_world(p), "pause", p->name);
    p->paused = true;
}

void sim_process_resume(struct sim_process *p)
{
    sim_trace_text(sim_process_world(p), "resume", p->name);
    p->paused = false;
    if (!p->alive)
        return;
    for (unsigned i = 0; i < p->program.reactors; i++)
        sim_reactor_wake(&p->reactors[i]);
}

/* ---- Questions ---- */

bool sim_process_is_alive(const struct sim_process *p)
{
    return p->alive;
}

struct reactor *sim_process_reactor(struct sim_process *p, unsigned index)
{
    assert(index < p->program.reactors);
    return &p->reactors[index].base;
}

struct sim_machine *sim_process_machine(struct sim_process *p)
{
    return p->machine;
}

uint64_t sim_process_owner(const struct sim_process *p)
{
    return p->owner;
}

struct sim_world *sim_reactor_world(const struct reactor *r)
{
    return sim_process_world(sim_of(r)->process);
}

struct sim_process *sim_reactor_process(const struct reactor *r)
{
    return sim_of(r)->process;
}
