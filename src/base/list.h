/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list.  A node that is in no list points at itself, so that it can be
 * asked, and removing it again does nothing.
 *
 * Threading: the owner's.   Memory: nodes are embedded; nothing is allocated.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

struct list {
    struct list_node head;
};

static inline void list_node_init(struct list_node *n)
{
    n->next = n;
    n->prev = n;
}

static inline void list_init(struct list *l)
{
    list_node_init(&l->head);
}

static inline bool list_empty(const struct list *l)
{
    return l->head.next == &l->head;
}

static inline bool list_node_linked(const struct list_node *n)
{
    return n->next != n;
}

static inline void list_insert_between(struct list_node *n, struct list_node *prev,
                                       struct list_node *next)
{
    assert(!list_node_linked(n));
    n->prev = prev;
    n->next = next;
    prev->next = n;
    next->prev = n;
}

static inline void list_push_back(struct list *l, struct list_node *n)
{
    list_insert_between(n, l->head.prev, &l->head);
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
    list_insert_between(n, &l->head, l->head.next);
}

static inline void list_remove(struct list_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_node_init(n);
}

/* Puts n where old is, and takes old out.  If old is in no list, n is in none either. */
static inline void list_replace(struct list_node *old, struct list_node *n)
{
    list_node_init(n);
    if (list_node_linked(old))
        list_insert_between(n, old->prev, old);
    list_remove(old);
}

static inline struct list_node *list_first(const struct list *l)
{
    return list_empty(l) ? NULL : l->head.next;
}

static inline struct list_node *list_pop_front(struct list *l)
{
    struct list_node *n = list_first(l);
    if (n != NULL)
        list_remove(n);
    return n;
}

/* Moves all of from's nodes to the end of to; from is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    struct list_node *first = from->head.next;
    struct list_node *last = from->head.prev;
    first->prev = to->head.prev;
    to->head.prev->next = first;
    last->next = &to->head;
    to->head.prev = last;
    list_init(from);
}

/* The current node may be removed inside the loop; others may not. */
#define LIST_FOR_EACH(node, list)                                               \
    for (struct list_node *node = (list)->head.next, *node##_next = node->next; \
         node != &(list)->head; node = node##_next, node##_next = node->next)

#endif
