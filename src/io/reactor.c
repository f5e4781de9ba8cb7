/* SPDX-License-Identifier: Apache-2.0 */
/* Hands every call to the backend that the reactor was created by. */
#include "io/reactor.h"

#include <assert.h>

#include "io/backend.h"

void reactor_run(struct reactor *r)
{
    r->ops->run(r);
}

void reactor_stop(struct reactor *r)
{
    r->ops->stop(r);
}

void reactor_destroy(struct reactor *r)
{
    if (r != NULL)
        r->ops->destroy(r);
}

bool reactor_is_current(const struct reactor *r)
{
    return r->ops->is_current(r);
}

uint64_t reactor_clock_ns(const struct reactor *r)
{
    return r->ops->clock_ns(r);
}

uint64_t reactor_wall_ns(const struct reactor *r)
{
    return r->ops->wall_ns(r);
}

void reactor_random(struct reactor *r, struct span out)
{
    r->ops->random(r, out);
}

struct uuid reactor_boot_id(const struct reactor *r)
{
    return r->ops->boot_id(r);
}

void reactor_defer(struct reactor *r, struct io_task *task)
{
    assert(reactor_is_current(r));
    assert(task->run != NULL);

    if (!list_node_linked(&task->link))
        r->ops->defer(r, task);
}

void reactor_post(struct reactor *r, struct io_msg *msg)
{
    assert(msg->deliver != NULL);
    r->ops->post(r, msg);
}

void reactor_send(struct reactor *from, struct reactor *to, struct io_msg *msg)
{
    assert(reactor_is_current(from));
    assert(msg->deliver != NULL);

    if (from->ops->send != NULL)
        from->ops->send(from, to, msg);
    else
        to->ops->post(to, msg);
}

void reactor_lend_memory(struct reactor *r, struct span memory, size_t piece_bytes)
{
    assert(reactor_is_current(r));
    if (r->ops->lend_memory != NULL)
        r->ops->lend_memory(r, memory, piece_bytes);
}

void reactor_take_back_memory(struct reactor *r, struct span memory)
{
    if (r->ops->take_back_memory != NULL)
        r->ops->take_back_memory(r, memory);
}

struct status io_file_open(struct reactor *r, const char *path, unsigned flags,
                           uint64_t create_bytes, int *out_fd, struct io_file_info *out_info)
{
    assert(reactor_is_current(r));
    return r->ops->file_open(r, path, flags, create_bytes, out_fd, out_info);
}

struct status io_file_bytes(struct reactor *r, int fd, uint64_t *out_bytes)
{
    assert(reactor_is_current(r));
    return r->ops->file_bytes(r, fd, out_bytes);
}

struct status io_listen(struct reactor *r, const struct io_addr *on, int *out_fd,
                        struct io_addr *out_bound)
{
    assert(reactor_is_current(r));
    return r->ops->listen(r, on, out_fd, out_bound);
}

struct status io_peer_addr(struct reactor *r, int fd, struct io_addr *out_addr)
{
    assert(reactor_is_current(r));
    return r->ops->peer_addr(r, fd, out_addr);
}

struct status io_local_addr(struct reactor *r, int fd, struct io_addr *out_addr)
{
    assert(reactor_is_current(r));
    return r->ops->local_addr(r, fd, out_addr);
}

void io_fd_release(struct reactor *r, int fd)
{
    assert(reactor_is_current(r));
    r->ops->fd_release(r, fd);
}

struct status io_fd_adopt(struct reactor *r, int fd)
{
    assert(reactor_is_current(r));
    return r->ops->fd_adopt(r, fd);
}

void io_shutdown(struct reactor *r, int fd)
{
    assert(reactor_is_current(r));
    r->ops->shutdown(r, fd);
}

void io_close(struct reactor *r, int fd)
{
    if (fd < 0)
        return;
    assert(reactor_is_current(r));
    r->ops->close(r, fd);
}
