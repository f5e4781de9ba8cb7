/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "io/backend.h"
#include "io/reactor.h"
#include "io/timer_heap.h"

static bool timer_before(const struct io_timer *a, const struct io_timer *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return a->sequence < b->sequence;
}

/* Joins two heaps, whose roots have no siblings: the later root becomes the other's child. */
static struct io_timer *heap_meld(struct io_timer *a, struct io_timer *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (timer_before(b, a)) {
        struct io_timer *const later = a;
        a = b;
        b = later;
    }
    b->prev = a;
    b->sibling = a->child;
    if (a->child != NULL)
        a->child->prev = b;
    a->child = b;
    return a;
}

static struct io_timer *heap_take_first(struct io_timer **list)
{
    struct io_timer *const t = *list;
    if (t == NULL)
        return NULL;
    *list = t->sibling;
    t->sibling = NULL;
    t->prev = NULL;
    return t;
}

/*
 * Makes one heap of a list of siblings: melds them in pairs from the left, then all pairs from
 * the right.  The pairs wait in a list of their own, so that the depth of the stack is constant.
 */
static struct io_timer *heap_meld_siblings(struct io_timer *list)
{
    struct io_timer *pairs = NULL; /* The last pair first. */

    while (list != NULL) {
        struct io_timer *const a = heap_take_first(&list);
        struct io_timer *const b = heap_take_first(&list);
        struct io_timer *const pair = heap_meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    struct io_timer *root = NULL;
    while (pairs != NULL)
        root = heap_meld(root, heap_take_first(&pairs));
    return root;
}

/* Takes t, which is not the root, out of its parent's children. */
static void heap_unlink(struct io_timer *t)
{
    if (t->prev->child == t)
        t->prev->child = t->sibling;
    else
        t->prev->sibling = t->sibling;
    if (t->sibling != NULL)
        t->sibling->prev = t->prev;
    t->sibling = NULL;
    t->prev = NULL;
}

void timer_heap_insert(struct timer_heap *h, struct io_timer *t)
{
    assert(t->child == NULL);
    assert(t->sibling == NULL);
    assert(t->prev == NULL);

    t->sequence = h->sequence_next++;
    h->root = heap_meld(h->root, t);
}

void timer_heap_remove(struct timer_heap *h, struct io_timer *t)
{
    struct io_timer *const below = heap_meld_siblings(t->child);
    t->child = NULL;
    if (h->root == t) {
        h->root = below;
        return;
    }
    heap_unlink(t);
    h->root = heap_meld(h->root, below);
}

struct io_timer *timer_heap_pop_due(struct timer_heap *h, uint64_t now_ns)
{
    struct io_timer *const t = h->root;
    if (t == NULL || t->deadline_ns > now_ns)
        return NULL;
    timer_heap_remove(h, t);
    t->reactor = NULL;
    return t;
}

void io_timer_init(struct io_timer *t, io_timer_fn *fire)
{
    *t = (struct io_timer) { .fire = fire };
}

void io_timer_arm(struct io_timer *t, struct reactor *r, uint64_t deadline_ns)
{
    assert(reactor_is_current(r));
    assert(t->fire != NULL);

    io_timer_disarm(t);
    t->reactor = r;
    t->deadline_ns = deadline_ns;
    r->ops->timer_arm(r, t);
}

void io_timer_disarm(struct io_timer *t)
{
    struct reactor *const r = t->reactor;
    if (r == NULL)
        return;
    assert(reactor_is_current(r));

    t->reactor = NULL;
    r->ops->timer_disarm(r, t);
}
