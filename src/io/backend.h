/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backend of the reactor provides.  Only src/io/ includes this.
 *
 * The callers in reactor.c, op.c and timer.c have checked that the calling thread is the
 * reactor's (except for stop and post), and keep the bookkeeping that both backends share.
 *
 * Threading: as reactor.h says for the function that each one stands behind.
 * Memory:    the table is const and static.
 */
#ifndef IO_BACKEND_H
#define IO_BACKEND_H

#include "io/op.h"
#include "io/reactor.h"

struct reactor_ops {
    void (*run)(struct reactor *r);
    void (*stop)(struct reactor *r);
    void (*destroy)(struct reactor *r);
    bool (*is_current)(const struct reactor *r);
    uint64_t (*clock_ns)(const struct reactor *r);
    uint64_t (*wall_ns)(const struct reactor *r);
    void (*random)(struct reactor *r, struct span out);
    struct uuid (*boot_id)(const struct reactor *r);

    /* The task is in no list. */
    void (*defer)(struct reactor *r, struct io_task *task);
    /* The timer is in no heap before arm and in the reactor's before disarm (timer_heap.h). */
    void (*timer_arm)(struct reactor *r, struct io_timer *t);
    void (*timer_disarm)(struct reactor *r, struct io_timer *t);
    void (*post)(struct reactor *r, struct io_msg *msg);
    void (*send)(struct reactor *from, struct reactor *to, struct io_msg *msg); /* NULL: post. */

    /*
     * The op is filled in, in_flight is set and result is 0.  The backend clears in_flight right
     * before it calls done.  cancel: the op is in flight and marked canceled, maybe again.
     */
    void (*start)(struct reactor *r, struct io_op *op);
    void (*cancel)(struct reactor *r, struct io_op *op);

    /* May be NULL, as may what undoes it. */
    void (*lend_memory)(struct reactor *r, struct span memory, size_t piece_bytes);
    void (*take_back_memory)(struct reactor *r, struct span memory);

    struct status (*file_open)(struct reactor *r, const char *path, unsigned flags,
                               uint64_t create_bytes, int *out_fd, struct io_file_info *out_info);
    struct status (*file_bytes)(struct reactor *r, int fd, uint64_t *out_bytes);
    struct status (*listen)(struct reactor *r, const struct io_addr *on, int *out_fd,
                            struct io_addr *out_bound);
    struct status (*peer_addr)(struct reactor *r, int fd, struct io_addr *out_addr);
    struct status (*local_addr)(struct reactor *r, int fd, struct io_addr *out_addr);
    void (*fd_release)(struct reactor *r, int fd);
    struct status (*fd_adopt)(struct reactor *r, int fd);
    void (*shutdown)(struct reactor *r, int fd);
    void (*close)(struct reactor *r, int fd);
};

#endif
